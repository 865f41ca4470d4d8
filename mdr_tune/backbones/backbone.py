"""The base class of all backbones: properties of the network, and the normalisation of its images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from mdr_tune.backbones.blocks import blocks_of
from mdr_tune.backbones.image_limits import ImageLimits
from mdr_tune.backbones.state_dicts import State, load_weights


class Backbone(nn.Module):
    """A network that maps normalised images (n, C, H, W) to features (n, feature_size).

    A subclass sets the attributes. For `input_mean` and `input_std`, its `__init__` calls `set_normalization` once.

    Attributes:
        name: name of the network in a sweep file.
        feature_size: length of the feature vector.
        in_channels: number of channels C: 1 (grey) or 3 (colour). A network for colour also takes grey images.
        image_size: usual height and width of the images, in pixels.
        min_image_size: least height and width that the network takes, in pixels.
        fixed_image_size: whether the network takes only images of `image_size`.
        input_mean: value that is subtracted from each channel, on the scale 0..255, in the network's channel order.
        input_std: value by which each channel is then divided, on the same scale and in the same order.
        bgr: whether the network takes the channels in the order blue, green, red. `normalize` then reverses the order.
        prefix_tokens: number of class and register tokens, which come first in the network's tokens; 0 if it has none.
        idle_parameters: names of parameters that get no gradient in training, such as those of a classifier left in.
        skips_parameters: whether other parameters may get no gradient in a step, as with layers dropped at random.
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
    prefix_tokens: int = 0
    idle_parameters: tuple[str, ...] = ()
    skips_parameters: bool = False

    _divides: bool
    _mean: torch.Tensor
    _std: torch.Tensor

    def set_normalization(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Set `input_mean` to `mean` and `input_std` to `std`, and keep them as buffers, which `.to(device)` moves."""
        self.input_mean, self.input_std = mean, std
        self._divides = any(value != 1 for value in std)
        self.register_buffer("_mean", torch.tensor(mean, dtype=torch.float32)[:, None, None], persistent=False)
        self.register_buffer("_std", torch.tensor(std, dtype=torch.float32)[:, None, None], persistent=False)

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Return `images` in the form that `forward` takes: normalised, float32 (n, in_channels, H, W).

        `images` are (n, C, H, W), uint8 or float in 0..255, RGB or grey. A network for colour gets the grey channel
        three times. ValueError is raised if the network does not take their shape. The CPU never waits for the GPU.
        """
        self.check_image_shape(tuple(images.shape[1:]))
        if self.bgr and images.shape[1] == 3:
            images = images.flip(1)
        if images.shape[1] != len(self.input_mean):  # one grey channel minus three means gives three channels
            return ((images - self._mean) / self._std).float()
        # In place: one new tensor instead of three. On a CPU, the first touch of new memory takes most of the time.
        values = images.to(torch.promote_types(images.dtype, torch.float32), copy=True).sub_(self._mean)
        if self._divides:
            values.div_(self._std)
        return values.float()

    def check_image_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError, which says what would work, if the network does not take images of `shape` (C, H, W)."""
        self.image_limits.check(shape)

    @property
    def image_limits(self) -> ImageLimits:
        """Shapes of the images that the network takes."""
        return ImageLimits(self.name, self.in_channels, self.image_size, self.min_image_size, self.fixed_image_size)

    def without_pooling(self) -> None:
        """Leave out the global pooling. `forward` then returns maps or tokens of F channels; `feature_size` is F.

        Maps are (n, F, h, w). Tokens are (n, T, F), and the first `prefix_tokens` are class or register tokens. The
        weights and their names stay. Raise ValueError if the network does not end with one global pooling.
        """
        raise ValueError(f"{self.name} pools its features itself: leave out embedding.pool")

    def list_blocks(self) -> list[nn.Module]:
        """Return the parts of the network, in order from input to output, that are frozen or trained as a whole.

        Together they have all layers of the network. The first block has the stem. Single parameters outside of all
        blocks, such as a position embedding, belong to the block before them, or to the first.
        """
        return blocks_of(self)

    def load_file(self, state: State, path: Path) -> None:
        """Load `state`, which was read from the file `path`: published weights, or a state dict of this class.

        Raise UserError, whose message names `path`, if `state` does not fit the network.
        """
        load_weights(self, state, path)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Apply `fn`, which moves or casts a tensor, to all tensors. `_mean` and `_std` only move, and stay float32."""
        done: Any = super()._apply(fn, recurse)
        for name, values in (("_mean", self.input_mean), ("_std", self.input_std)):
            device = getattr(self, name).device
            setattr(self, name, torch.tensor(values, dtype=torch.float32, device=device)[:, None, None])
        return done  # type: ignore[no-any-return]
