"""The shapes of the images that a backbone takes.

This module does not import torch, because a sweep file is checked before torch is imported.
"""

from collections.abc import Callable
from typing import NamedTuple


def takes_every_size(size: int) -> str:
    """Return an empty text: no reason against images of `size`. This is the default of `ImageLimits.problem_with`."""
    return ""


class ImageLimits(NamedTuple):
    """The shapes of the images that a backbone takes.

    The fields mean the same as in `mdr_tune.backbones.Backbone`. `problem_with` is called with an image's height that
    the other fields allow. It returns why the network does not take square images of this height, and what to write
    instead; an empty text if the network takes them.
    """

    name: str
    in_channels: int
    image_size: int
    min_image_size: int
    fixed_image_size: bool = False
    problem_with: Callable[[int], str] = takes_every_size

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError, which says what would work, if the backbone does not take images of `shape` (C, H, W)."""
        if len(shape) != 3:
            raise ValueError(f"{self.name} takes images (channels, height, width), got {_text(shape)}")
        channels, height, width = shape
        if channels not in (1, self.in_channels):
            advice = (
                "choose a backbone for colour such as resnet18, or grey images"
                if self.in_channels == 1
                else "give images of 3 channels, red, green and blue, or of 1, grey"
            )
            raise ValueError(f"{self.name} {self._takes()}, got {_text(shape)}: {advice}")
        size = self.image_size
        if self.fixed_image_size and (height, width) != (size, size):
            raise ValueError(
                f"{self.name} {self._takes()}, got {_text(shape)}: make the images {size}x{size}, "
                "or choose a backbone that takes any size such as resnet18"
            )
        if min(height, width) < self.min_image_size:
            raise ValueError(
                f"{self.name} {self._takes()}, got {_text(shape)}: make the images larger ({size}x{size} is usual), "
                "or choose a backbone that takes smaller ones such as resnet18"
            )
        if problem := self.problem_with(height):
            raise ValueError(f"{self.name} does not take images of {_text(shape)}: {problem}")

    def _takes(self) -> str:
        kind = "grey images" if self.in_channels == 1 else "RGB or grey images"
        if self.fixed_image_size:
            return f"takes {kind} of exactly {self.image_size}x{self.image_size} pixels"
        return f"takes {kind} of at least {self.min_image_size}x{self.min_image_size} pixels"


def _text(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
