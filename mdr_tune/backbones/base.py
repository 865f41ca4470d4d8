"""What every backbone tells the code that feeds it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from mdr_tune.backbones.image_limits import ImageLimits
from mdr_tune.backbones.state_dicts import State, load_weights

# Where the layers of torch and torchvision keep the probability with which they drop something in training:
# Dropout and StochasticDepth `p`, attention `dropout` and `attention_dropout`, DenseNet's layers `drop_rate`.


class Backbone(nn.Module):
    """A network from normalised images (n, C, H, W) to features (n, feature_size).

    A subclass sets the attributes; it calls `set_normalization` once, in its `__init__`.

    Attributes:
        name: what a sweep file calls it.
        feature_size: length of the feature vector.
        in_channels: C, 1 (grey) or 3 (colour). A network for colour also takes grey images.
        image_size: the native height and width, in pixels.
        min_image_size: the least height and width that the network takes, in pixels.
        fixed_image_size: it takes images of `image_size` only.
        input_mean: per channel, in the network's order of channels, subtracted from values in 0..255.
        input_std: per channel, what the difference is divided by, in the same unit.
        bgr: the network wants blue, green, red; images are always given as red, green, blue.
    """

    name: str
    feature_size: int
    in_channels: int
    image_size: int
    min_image_size: int
    fixed_image_size: bool = False
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]
    bgr: bool = False

    _divides: bool
    _mean: torch.Tensor
    _std: torch.Tensor

    def set_normalization(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Set `input_mean` and `input_std`, and keep them beside the weights: they follow `.to(device)`."""
        self.input_mean, self.input_std = mean, std
        self._divides = any(value != 1 for value in std)
        self.register_buffer("_mean", torch.tensor(mean, dtype=torch.float32)[:, None, None], persistent=False)
        self.register_buffer("_std", torch.tensor(std, dtype=torch.float32)[:, None, None], persistent=False)

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Return what `forward` takes, float32 (n, in_channels, H, W); never waits for the device.

        Args:
            images: (n, C, H, W), uint8 or float in 0..255, RGB or grey. One grey channel stands for three equal ones
                if the network takes colour.

        Raises:
            ValueError: the network does not take images of this shape.
        """
        self.check_image_shape(tuple(images.shape[1:]))
        if self.bgr and images.shape[1] == 3:
            images = images.flip(1)
        if images.shape[1] != len(self.input_mean):  # one grey channel meets three means, and becomes three
            return ((images - self._mean) / self._std).float()
        # One new tensor instead of three: on a CPU, the first touch of its memory is most of the time.
        values = images.to(torch.promote_types(images.dtype, torch.float32), copy=True).sub_(self._mean)
        if self._divides:
            values.div_(self._std)
        return values.float()

    def check_image_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError, which says what would work, unless the network takes images of `shape` (C, H, W)."""
        self.image_limits.check(shape)

    @property
    def image_limits(self) -> ImageLimits:
        """Which images the network takes."""
        return ImageLimits(self.name, self.in_channels, self.image_size, self.min_image_size, self.fixed_image_size)

    def load_file(self, state: State, path: Path) -> None:
        """Load the state dict that was read from a file: published weights, or what `state_dict` gave.

        Raises:
            UserError: It does not fit; the message names `path`.
        """
        load_weights(self, state, path)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Move or cast the weights; mean and standard deviation move along, but stay exact float32."""
        done: Any = super()._apply(fn, recurse)
        for name, values in (("_mean", self.input_mean), ("_std", self.input_std)):
            device = getattr(self, name).device
            setattr(self, name, torch.tensor(values, dtype=torch.float32, device=device)[:, None, None])
        return done  # type: ignore[no-any-return]
