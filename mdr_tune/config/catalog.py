"""What a sweep file may name: data sets and backbones. To add one, write it and give it a line here.

Light on purpose: a file is checked before torch is imported.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mdr_tune.util.registry import Registry

if TYPE_CHECKING:
    from mdr_tune.backbones.base import Backbone
    from mdr_tune.data.dataset import OpenedDataset
    from mdr_tune.data.outline import DatasetOutline

# Callables (cache folder, progress, **arguments); the arguments are those of the data set's class in `config.data`.
DATASETS: "Registry[Callable[..., OpenedDataset]]" = Registry("data set")
DATASETS.add("glyphs", "mdr_tune.data.glyphs.glyphs:open_glyphs")
DATASETS.add("cub200", "mdr_tune.data.published.cub200:CUB200")
DATASETS.add("cars196", "mdr_tune.data.published.cars196:CARS196")
DATASETS.add("sop", "mdr_tune.data.published.sop:SOP")
DATASETS.add("inshop", "mdr_tune.data.published.inshop:INSHOP")
DATASETS.add("folder", "mdr_tune.data.own.folder:FOLDER")
DATASETS.add("table", "mdr_tune.data.own.table:TABLE")

# Callables (name, **arguments) that say how many images there are without reading one. Data sets of image files need no
# line: `mdr_tune.data.outline_files` lists their files.
OUTLINES: "Registry[Callable[..., DatasetOutline]]" = Registry("data set")
OUTLINES.add("glyphs", "mdr_tune.data.outline:outline_glyphs")

RECALL_KS = {
    "cub200": (1, 2, 4, 8),
    "cars196": (1, 2, 4, 8),
    "sop": (1, 10, 100, 1000),
    "inshop": (1, 10, 20, 30, 40),
}
"""The ranks K of Recall@K in the paper's table of each data set."""

# What a backbone's name stands for is called with the name and the weights, and makes the network for these weights
# without loading them. torchvision's other classification models need no line: `mdr_tune.backbones.build_backbone`
# finds them by torchvision's names. Which images these here take is in `mdr_tune.backbones.image_limits`.
BACKBONES: "Registry[Callable[[str, str], Backbone]]" = Registry("backbone")
BACKBONES.add("conv4", "mdr_tune.backbones.conv4:make")
BACKBONES.add("bn_inception", "mdr_tune.backbones.bn_inception:make")
for _name in ("googlenet", "resnet18", "resnet50"):
    BACKBONES.add(_name, "mdr_tune.backbones.torchvision_models:TorchvisionBackbone")
_WITHOUT_PUBLISHED_WEIGHTS = ("conv4",)


def has_published_weights(backbone: str) -> bool:
    """Return whether somebody publishes trained weights of this (valid) name; without them DEFAULT means none."""
    return backbone not in _WITHOUT_PUBLISHED_WEIGHTS
