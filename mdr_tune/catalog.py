"""What a sweep file may name: data sets and backbones. To add one, write it and give it a line here.

Light on purpose: a file is checked before torch is imported.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mdr_tune.registry import Registry

if TYPE_CHECKING:
    from mdr_tune.backbones.base import Backbone
    from mdr_tune.data.dataset import DatasetSource

DATASETS: "Registry[DatasetSource]" = Registry("data set")
DATASETS.add("glyphs", "mdr_tune.data.glyphs:SOURCE")
for _name in ("cub200", "cars196", "sop", "inshop"):
    DATASETS.announce(_name, "this version cannot read it yet; glyphs is available")

BACKBONES: "Registry[Callable[[], Backbone]]" = Registry("backbone")
BACKBONES.add("conv4", "mdr_tune.backbones.conv4:Conv4")
for _name in ("bn_inception", "googlenet", "resnet18", "resnet50"):
    BACKBONES.announce(_name, "this version cannot build it yet; conv4 is available")
