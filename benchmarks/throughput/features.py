"""A backbone that computes nothing: what is left of a step is its head, on the features of a frozen network."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from mdr_tune.backbones import Backbone, families
from mdr_tune.backbones.family import BackboneFamily
from mdr_tune.backbones.image_limits import ImageLimits

NAME = "features"
SIZE = 32
"""Height and width of the grey images whose pixels are the features, 1,024 of them."""


class Features(Backbone):
    """Pixels as features."""

    name, in_channels, image_size, min_image_size, fixed_image_size = NAME, 1, SIZE, SIZE, True
    feature_size = SIZE * SIZE

    def __init__(self) -> None:
        super().__init__()
        self.set_normalization((127.5,), (63.75,))
        self.unused = torch.nn.Parameter(torch.zeros(1))  # a trial's optimizer has a learning rate for the backbone

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


class _FeaturesFamily(BackboneFamily):
    """The one network."""

    names = (NAME,)
    has_published_weights = False

    def image_limits(self, name: str, weights: str, arguments: Mapping[str, Any]) -> ImageLimits:
        return ImageLimits(name, 1, SIZE, SIZE, fixed_image_size=True)

    def make(self, name: str, weights: str, image_size: int | None, arguments: Mapping[str, Any]) -> Features:
        return Features()


@contextmanager
def in_the_families() -> Iterator[None]:
    """Have its name found within the block."""
    with mock.patch.object(families, "FAMILIES", [*families.FAMILIES, _FeaturesFamily()]):
        yield
