"""Dropout and stochastic depth that draw for the global batch, so that neither ranks nor chunks change what is dropped.

Each layer draws one mask for all images of the global batch from a seed of the step, and applies the rows of the images
that it is given. An image thus loses the same activations wherever, and in whichever chunk, it is embedded.
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
    """What the layers of a network draw from: set before each forward pass in training.

    Attributes:
        step: Identifies the optimiser step: seed of the trial, epoch, number of the step.
        batch_size: Images in the global batch, B.
        rows: Which of them the next forward pass gets.
    """

    def __init__(self) -> None:
        self.step: tuple[int, ...] = ()
        self.batch_size = 0
        self.rows = slice(0)
        self._calls: dict[int, int] = {}
        self._number = next(_numbers)
        _draws[self._number] = self

    def at(self, step: tuple[int, ...], batch_size: int, rows: slice) -> None:
        """Prepare for a forward pass on some rows of a step's global batch."""
        self.step, self.batch_size, self.rows = step, batch_size, rows
        self._calls = {}

    def keep_mask(
        self, layer: int, shape: torch.Size, probability: float, like: torch.Tensor, same_for_all: bool = False
    ) -> torch.Tensor:
        """Return 0 where something is dropped, with `probability`, else 1 / (1 - probability).

        Args:
            layer: Number of the layer; its second call in a pass draws anew.
            shape: Of one image's mask.
            probability: In [0, 1].
            like: (n, ...), whose dtype and device the mask has; n is the number of `rows`.
            same_for_all: One draw for all images of the batch.

        Returns:
            (n, *shape), or (1, *shape) if it is the same for all.
        """
        if torch.compiler.is_compiling():
            # One operation that the compiler does not look into: a generator would break the network into pieces, of
            # which it compiles eight at most.
            op = torch.ops.mdr_tune.keep_mask
            return cast(torch.Tensor, op(like.detach(), self._number, layer, list(shape), probability, same_for_all))
        call = self._calls[layer] = self._calls.get(layer, -1) + 1
        generator = torch.Generator().manual_seed(derive_seed("network", *self.step, layer, call))
        numbers = torch.rand((1 if same_for_all else self.batch_size, *shape), generator=generator)
        keep = (numbers if same_for_all else numbers[self.rows]) >= probability
        scale = 0.0 if probability >= 1 else 1.0 / (1.0 - probability)
        return send(keep, like.device).to(like.dtype) * scale


_draws: "weakref.WeakValueDictionary[int, Draws]" = weakref.WeakValueDictionary()
"""All draws there are: torch's operations take numbers, not objects."""
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
    """`nn.Dropout` that draws for the global batch."""

    layer: int
    draws: Draws

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Drop elements of (n, ...)."""
        if not self.training or self.p == 0:
            return inputs
        return inputs * self.draws.keep_mask(self.layer, inputs.shape[1:], self.p, inputs)


@cache
def _global_stochastic_depth() -> type[nn.Module]:
    """Return a class that is declared here alone, since it imports torchvision."""
    from torchvision.ops import StochasticDepth

    class GlobalStochasticDepth(StochasticDepth):
        """`torchvision.ops.StochasticDepth` that draws for the global batch."""

        layer: int
        draws: Draws

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            """Drop images' branches, (n, ...); in the mode `batch` all of them or none."""
            if not self.training or self.p == 0:
                return inputs
            ones = torch.Size([1] * (inputs.ndim - 1))
            return inputs * self.draws.keep_mask(self.layer, ones, self.p, inputs, same_for_all=self.mode == "batch")

    return GlobalStochasticDepth


def make_draws_global(network: nn.Module) -> Draws:
    """Make every layer of `network` that drops draw for the global batch, in place; returns what they draw from."""
    draws = Draws()
    kinds: dict[type, Any] = {nn.Dropout: GlobalDropout}
    if "torchvision" in sys.modules:  # else none of its layers is here, and importing it takes two seconds
        from torchvision.ops import StochasticDepth

        kinds[StochasticDepth] = _global_stochastic_depth()
    for number, layer in enumerate(network.modules()):
        kind = kinds.get(type(layer))
        if kind is not None:
            layer.__class__ = kind  # the same state; only `forward`, the number and the draws are new
            dropping = cast(GlobalDropout, layer)
            dropping.layer, dropping.draws = number, draws
    return draws
