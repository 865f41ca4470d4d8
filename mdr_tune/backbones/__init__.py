"""Networks that turn images into feature vectors; found by name in `mdr_tune.catalog`, or else in torchvision."""

from mdr_tune.backbones.base import Backbone
from mdr_tune.backbones.build import build_backbone, check_backbone_name, check_takes
from mdr_tune.backbones.conv4 import Conv4
from mdr_tune.backbones.weights import check_weights, fetch_weights

__all__ = [
    "Backbone",
    "Conv4",
    "build_backbone",
    "check_backbone_name",
    "check_takes",
    "check_weights",
    "fetch_weights",
]
