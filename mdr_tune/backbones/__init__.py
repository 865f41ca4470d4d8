"""Networks that turn images into feature vectors; found by name in `mdr_tune.catalog`."""

from mdr_tune.backbones.base import Backbone
from mdr_tune.backbones.conv4 import Conv4
from mdr_tune.catalog import BACKBONES

__all__ = ["Backbone", "Conv4", "build_backbone"]


def build_backbone(name: str) -> Backbone:
    """Return a new backbone, its weights drawn from torch's global generator.

    Raises:
        Unavailable: (a ValueError) `name` is known, but this version does not build it.
        ValueError: `name` is unknown; the message lists the known ones.
    """
    return BACKBONES[name]()
