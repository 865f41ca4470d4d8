"""The shapes of the images that a backbone takes.

This module does not import torch, because a sweep file is checked before torch is imported.
"""

from typing import NamedTuple


class ImageLimits(NamedTuple):
    """The shapes of the images that a backbone takes. The fields mean the same as in `mdr_tune.backbones.Backbone`."""

    name: str
    in_channels: int
    image_size: int
    min_image_size: int
    fixed_image_size: bool = False

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

    def _takes(self) -> str:
        kind = "grey images" if self.in_channels == 1 else "RGB or grey images"
        if self.fixed_image_size:
            return f"takes {kind} of exactly {self.image_size}x{self.image_size} pixels"
        return f"takes {kind} of at least {self.min_image_size}x{self.min_image_size} pixels"


def _text(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
