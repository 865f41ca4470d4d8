"""Random masks and numbers that depend neither on the number of ranks nor on chunks of a batch.

In each step, each layer draws for all images of the global batch, from a seed of the step, and takes the rows of the
images that it is given.
"""

import itertools
import weakref
from collections.abc import Callable
from typing import cast

import torch
from torch import nn

from mdr_tune.data.seeding import derive_seed
from mdr_tune.metric.transfer import send


class Draws:
    """Source of the random masks of a network's dropout layers. In training, `at` is called before each forward pass.

    Attributes:
        step: Numbers that identify the optimiser step: seed of the trial, epoch, number of the step within the epoch.
        batch_size: Number of images in the global batch, B.
        rows: Slice of the global batch that the next forward pass gets.
    """

    def __init__(self) -> None:
        self.step: tuple[int, ...] = ()
        self.batch_size = 0
        self.rows = slice(0)
        self._calls: dict[int, int] = {}
        self._number = next(_numbers)
        _draws[self._number] = self

    def at(self, step: tuple[int, ...], batch_size: int, rows: slice) -> None:
        """Prepare for a forward pass on the images `rows`: set the attributes `step`, `batch_size` and `rows`."""
        self.step, self.batch_size, self.rows = step, batch_size, rows
        self._calls = {}

    def keep_mask(
        self, layer: int, shape: torch.Size, probability: float, like: torch.Tensor, same_for_all: bool = False
    ) -> torch.Tensor:
        """Return a mask to multiply activations by: (n, *`shape`) of 0 to drop or 1 / (1 - probability) to keep.

        Args:
            layer: Number of the layer. A second call for the same layer in a forward pass draws anew.
            shape: Shape of the mask of one image, or of one part of an image.
            probability: Probability to drop, in [0, 1].
            like: (n, ...), a tensor with the dtype and the device of the mask; n is the number of `rows`, or a multiple
                of it if the layer gets several parts of each image, one image after the other (Swin's windows).
            same_for_all: Whether one draw, (1, *shape), is made for all images of the global batch.
        """
        if torch.compiler.is_compiling():
            # The compiler does not look into this operation. A generator in sight of the compiler would break the
            # network into pieces, and no more than eight pieces are compiled.
            op = torch.ops.mdr_tune.keep_mask
            return cast(torch.Tensor, op(like.detach(), self._number, layer, list(shape), probability, same_for_all))
        if same_for_all:
            numbers = torch.rand((1, *shape), generator=self._generator(layer))
        else:
            numbers = self._rows_of(torch.rand, layer, len(like), shape)
        scale = 0.0 if probability >= 1 else 1.0 / (1.0 - probability)
        return send(numbers >= probability, like.device).to(like.dtype) * scale

    def numbers(self, layer: int, shape: torch.Size, normal: bool, device: torch.device) -> torch.Tensor:
        """Return random numbers of the images `rows`, float32 of `shape`: normally distributed, or uniform in [0, 1).

        The first dimension of `shape` is n, the number of `rows`, or a multiple of it. `layer` is as in `keep_mask`.
        """
        if torch.compiler.is_compiling():
            return cast(torch.Tensor, torch.ops.mdr_tune.numbers(self._number, layer, list(shape), normal, device))
        return send(self._rows_of(torch.randn if normal else torch.rand, layer, shape[0], shape[1:]), device)

    def of_whole_batch(self, layer: int, shape: torch.Size) -> torch.Tensor:
        """Return numbers in [0, 1) of all images of the global batch, (B, *`shape`), on the CPU."""
        return torch.rand((self.batch_size, *shape), generator=self._generator(layer))

    def are_of(self, length: int) -> bool:
        """Return whether `length`, of a first dimension, is a multiple of the number of images in `rows`."""
        return len(self) == 0 or length % len(self) == 0

    def __len__(self) -> int:
        """Return the number of images in `rows`."""
        return int(self.rows.stop - self.rows.start)

    def _rows_of(self, draw: Callable[..., torch.Tensor], layer: int, length: int, shape: torch.Size) -> torch.Tensor:
        """Call `draw` for the global batch, and return the numbers (length, *shape) of the images `rows`."""
        parts = length // max(len(self), 1)
        numbers = draw((self.batch_size, parts, *shape), generator=self._generator(layer))
        return numbers[self.rows].flatten(0, 1)

    def _generator(self, layer: int) -> torch.Generator:
        call = self._calls[layer] = self._calls.get(layer, -1) + 1
        return torch.Generator().manual_seed(derive_seed("network", *self.step, layer, call))


_draws: "weakref.WeakValueDictionary[int, Draws]" = weakref.WeakValueDictionary()
"""All `Draws` objects that are in use, by number. Torch's custom operations take such a number, but no object."""
_numbers = itertools.count()


@torch.library.custom_op("mdr_tune::keep_mask", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _keep_mask(
    like: torch.Tensor, draws: int, layer: int, shape: list[int], probability: float, same_for_all: bool
) -> torch.Tensor:
    return _draws[draws].keep_mask(layer, torch.Size(shape), probability, like, same_for_all)


@_keep_mask.register_fake
def _(
    like: torch.Tensor, draws: int, layer: int, shape: list[int], probability: float, same_for_all: bool
) -> torch.Tensor:
    return like.new_empty((1 if same_for_all else len(like), *shape))


@torch.library.custom_op("mdr_tune::numbers", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _numbers_of(draws: int, layer: int, shape: list[int], normal: bool, device: torch.device) -> torch.Tensor:
    return _draws[draws].numbers(layer, torch.Size(shape), normal, device)


@_numbers_of.register_fake
def _(draws: int, layer: int, shape: list[int], normal: bool, device: torch.device) -> torch.Tensor:
    return torch.empty(shape, device=device)


class DrawingLayer(nn.Module):
    """A layer whose random numbers come from `draws`. `layer` is its number in the network."""

    layer: int
    draws: Draws

    def mask(self, inputs: torch.Tensor, dims: int, probability: float, same_for_all: bool = False) -> torch.Tensor:
        """Return a mask as `Draws.keep_mask` does, which can be multiplied with `inputs` (n, ...).

        An element is drawn for each index of the first 1 + `dims` dimensions of `inputs`. The others have size 1.
        """
        shape = torch.Size([*inputs.shape[1 : 1 + dims], *[1] * (inputs.ndim - 1 - dims)])
        return self.draws.keep_mask(self.layer, shape, probability, inputs, same_for_all)

    def dropped(self, inputs: torch.Tensor, dims: int, probability: float, same_for_all: bool = False) -> torch.Tensor:
        """Return `inputs` (n, ...) multiplied by their `mask`: some elements are set to 0, the others scaled up."""
        return inputs * self.mask(inputs, dims, probability, same_for_all)
