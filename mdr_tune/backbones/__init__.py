"""Networks that turn images into feature vectors, each found by its name.

Names are imported only when they are used, so that `families` can be imported without torch.
"""

from typing import TYPE_CHECKING, Any

from mdr_tune.util.lazy_names import lazy_name

if TYPE_CHECKING:
    from mdr_tune.backbones.backbone import Backbone
    from mdr_tune.backbones.by_name import build_backbone
    from mdr_tune.backbones.conv4 import Conv4
    from mdr_tune.backbones.families import check_takes
    from mdr_tune.backbones.weights import check_weights, fetch_weights, where_weights_are

__all__ = [
    "Backbone",
    "Conv4",
    "build_backbone",
    "check_takes",
    "check_weights",
    "fetch_weights",
    "where_weights_are",
]
_MODULES = {
    "backbone": ["Backbone"],
    "by_name": ["build_backbone"],
    "conv4": ["Conv4"],
    "families": ["check_takes"],
    "weights": ["check_weights", "fetch_weights", "where_weights_are"],
}


def __getattr__(name: str) -> Any:
    return lazy_name(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return __all__
