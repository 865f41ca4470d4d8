"""Networks that turn images into feature vectors; found by name in `BACKBONES`."""

from collections.abc import Callable

from mdr_tune.backbones.base import Backbone
from mdr_tune.backbones.conv4 import Conv4
from mdr_tune.registry import Registry

__all__ = ["BACKBONES", "Backbone", "Conv4", "build_backbone"]

BACKBONES: Registry[Callable[[], Backbone]] = Registry("backbone")


def build_backbone(name: str) -> Backbone:
    """Return a new backbone, its weights drawn from torch's global generator.

    Raises:
        Unavailable: (a ValueError) `name` is known, but this version does not build it.
        ValueError: `name` is unknown; the message lists the known ones.
    """
    return BACKBONES[name]()


BACKBONES.add("conv4", Conv4)
for _name in ("bn_inception", "googlenet", "resnet18", "resnet50"):
    BACKBONES.announce(_name, "this version cannot build it yet; conv4 is available")
