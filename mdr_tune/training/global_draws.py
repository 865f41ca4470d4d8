"""Dropout and stochastic depth whose draws depend neither on the number of ranks nor on the chunks of a batch.

A mask says which activations of each image are dropped. In each step, each layer draws one mask for all images of the
global batch, from a seed of the step. It applies those rows of the mask that belong to the images it is given. The
activations that an image loses therefore do not depend on the rank or the chunk in which it is embedded.
"""

import itertools
import sys
import weakref
from functools import cache
from typing import Any, cast

import torch
from torch import nn

from mdr_tune.data.seeding import derive_seed
from mdr_tune.metric.transfer import send


class Draws:
    """Source of the random masks of a network's dropout layers. In training, `at` is called before each forward pass.

    Attributes:
        step: Numbers that identify the optimiser step: seed of the trial, epoch, number of the step within the epoch.
        batch_size: Number of images in the global batch, B.
        rows: Images of the global batch that the next forward pass gets.
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
            shape: Shape of one image's mask.
            probability: Probability to drop, in [0, 1].
            like: (n, ...), a tensor with the dtype and the device of the mask; n is the number of `rows`.
            same_for_all: Whether one draw, (1, *shape), is made for all images of the global batch.
        """
        if torch.compiler.is_compiling():
            # The compiler does not look into this operation. A generator in sight of the compiler would break the
            # network into pieces, and no more than eight pieces are compiled.
            op = torch.ops.mdr_tune.keep_mask
            return cast(torch.Tensor, op(like.detach(), self._number, layer, list(shape), probability, same_for_all))
        call = self._calls[layer] = self._calls.get(layer, -1) + 1
        generator = torch.Generator().manual_seed(derive_seed("network", *self.step, layer, call))
        numbers = torch.rand((1 if same_for_all else self.batch_size, *shape), generator=generator)
        keep = (numbers if same_for_all else numbers[self.rows]) >= probability
        scale = 0.0 if probability >= 1 else 1.0 / (1.0 - probability)
        return send(keep, like.device).to(like.dtype) * scale


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


class GlobalDropout(nn.Dropout):
    """`nn.Dropout` that draws its mask for the global batch."""

    layer: int
    draws: Draws

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Drop single elements of `inputs` (n, ...)."""
        if not self.training or self.p == 0:
            return inputs
        return inputs * self.draws.keep_mask(self.layer, inputs.shape[1:], self.p, inputs)


@cache
def _global_stochastic_depth() -> type[nn.Module]:
    """Return the class GlobalStochasticDepth. It is declared in a function because its base class needs torchvision."""
    from torchvision.ops import StochasticDepth

    class GlobalStochasticDepth(StochasticDepth):
        """`torchvision.ops.StochasticDepth` that draws its mask for the global batch."""

        layer: int
        draws: Draws

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            """Drop whole images of the inputs (n, ...); in the mode `batch`, drop all images or none."""
            if not self.training or self.p == 0:
                return inputs
            ones = torch.Size([1] * (inputs.ndim - 1))
            return inputs * self.draws.keep_mask(self.layer, ones, self.p, inputs, same_for_all=self.mode == "batch")

    return GlobalStochasticDepth


def make_draws_global(network: nn.Module) -> Draws:
    """Make each dropout layer of `network` draw its mask for the global batch; return the source of the masks.

    `network` is changed in place. Layers of stochastic depth count as dropout layers.
    """
    draws = Draws()
    kinds: dict[type, Any] = {nn.Dropout: GlobalDropout}
    if "torchvision" in sys.modules:  # otherwise the network has none of its layers, and the import takes two seconds
        from torchvision.ops import StochasticDepth

        kinds[StochasticDepth] = _global_stochastic_depth()
    for number, layer in enumerate(network.modules()):
        kind = kinds.get(type(layer))
        if kind is not None:
            layer.__class__ = kind  # the state is kept; only `forward` and the two attributes that follow are new
            dropping = cast(GlobalDropout, layer)
            dropping.layer, dropping.draws = number, draws
    return draws
