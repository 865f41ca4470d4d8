"""torchvision's stochastic depth that draws for the global batch; apart, since it imports torchvision."""

import torch
from torchvision.ops import StochasticDepth

from mdr_tune.training.global_draws import Draws


class GlobalStochasticDepth(StochasticDepth):
    """`torchvision.ops.StochasticDepth` that draws for the global batch."""

    layer: int
    draws: Draws

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Drop images' branches, (n, ...); in the mode `batch` all of them or none."""
        if not self.training or self.p == 0:
            return inputs
        ones = torch.Size([1] * (inputs.ndim - 1))
        mask = self.draws.keep_mask(self.layer, ones, self.p, inputs, same_for_all=self.mode == "batch")
        return inputs * mask
