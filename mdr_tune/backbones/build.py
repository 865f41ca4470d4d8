"""From a backbone's name to the network."""

from collections.abc import Callable

from mdr_tune.backbones.base import Backbone
from mdr_tune.backbones.image_limits import CATALOG_LIMITS
from mdr_tune.backbones.weights import fetch_weights, read_state_dict
from mdr_tune.config.catalog import BACKBONES
from mdr_tune.util.errors import UnknownName
from mdr_tune.util.registry import did_you_mean

_LIST = "https://docs.pytorch.org/vision/stable/models.html#classification"


def check_backbone_name(name: str) -> None:
    """Raise UnknownName, which suggests the nearest one, unless `build_backbone` knows `name`.

    Imports torchvision if `name` is not in `mdr_tune.config.catalog.BACKBONES`: any of its classification models
    will do.
    """
    if name in BACKBONES:
        return
    from mdr_tune.backbones.torchvision_models import classification_models

    models = classification_models()
    if name in models:
        return
    raise UnknownName(
        f"unknown backbone {name!r}.{did_you_mean(name, [*BACKBONES, *models])} Known: {', '.join(BACKBONES)}, and by "
        f"torchvision's own names its other classification models ({_LIST})."
    )


def build_backbone(name: str, weights: str = "none", load: bool = True) -> Backbone:
    """Return a new backbone.

    Args:
        name: One of `mdr_tune.config.catalog.BACKBONES`, or the name of a classification model of torchvision.
        weights: `none`: drawn from torch's global generator. `DEFAULT`: the best published ones (Conv4 has none, and
            they are drawn). The name of published ones such as `IMAGENET1K_V1`. Else the path of a file with a state
            dict.
        load: False draws them whatever `weights` are, but makes the network for these: their preprocessing and a vision
            transformer's image size. For what loads a checkpoint next; no file is needed.

    Raises:
        UserError: `name` is unknown, and the message suggests one (an `UnknownName`); or the weights cannot be had or
            do not fit the network, and the message says what to do.
    """
    check_backbone_name(name)
    path = fetch_weights(name, weights) if load else None
    backbone = _maker(name)(name, weights)
    if path is not None:
        backbone.load_file(read_state_dict(path), path)
    return backbone


def check_takes(name: str, weights: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError, which says what would work, unless the backbone takes images of `shape` (C, H, W).

    As `Backbone.check_image_shape`, without making the network, which may take gigabytes and many seconds.

    Args:
        name: As of `build_backbone`.
        weights: As of `build_backbone`; a vision transformer's image size depends on them. No file is needed.
        shape: Of one image.
    """
    check_backbone_name(name)
    if name in CATALOG_LIMITS:
        CATALOG_LIMITS[name].check(shape)
        return
    from mdr_tune.backbones.torchvision_models import image_limits

    image_limits(name, weights).check(shape)


def _maker(name: str) -> Callable[[str, str], Backbone]:
    if name in BACKBONES:
        return BACKBONES[name]
    from mdr_tune.backbones.torchvision_models import TorchvisionBackbone

    return TorchvisionBackbone
