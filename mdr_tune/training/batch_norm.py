"""BatchNorm whose training statistics span the global batch, so that W ranks compute what one rank would.

torch's SyncBatchNorm runs on GPUs only. It waits for the GPU three times in each layer, because it asks how many images
the other ranks have. Here every rank knows how many images each rank holds; these shares may differ in size. The cost
for each layer is one small all-gather in the forward pass, and one in the backward pass.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import nn

from mdr_tune.metric import shard_sizes
from mdr_tune.training.ranks import Ranks


class _GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm whose statistics in training are those of the global batch, over all `ranks`.

    In all else, also in eval mode or with one rank, it is the layer that it was made from. Gradients are those that one
    rank with the global batch would compute. As everywhere in this project, the gradient that comes in on each of W
    ranks is W times the rank's share, and DDP averages the gradients of the parameters over the ranks.

    Attributes:
        shares: Number of images of the global batch on each rank.
        weights: (W, 1), `shares` as a tensor of the layer's dtype, on the layer's device.
    """

    ranks = Ranks()
    shares: list[int]
    weights: torch.Tensor

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalise `inputs`, each channel by itself: (n, C, H, W), or (n, C) or (n, C, L) for `nn.BatchNorm1d`.

        n is the number of the rank's images, or a multiple of it.
        """
        if not self.training or self.ranks.world_size == 1 or self.running_mean is None:
            return super().forward(inputs)
        images = self.shares[self.ranks.rank]
        assert len(inputs) % images == 0
        full = inputs.to(self.weight.dtype)  # autocast gives lower precision, which moments and sums must not have
        pixels = inputs[:, 0].numel() // images
        count = sum(self.shares) * pixels
        mean, variance = _global_moments(full.detach(), self.weights * pixels, count, self.ranks)
        self._update_running(mean, variance, count)
        output: torch.Tensor = _Normalize.apply(
            full, self.weight, self.bias, mean, variance, count, self.eps, self.ranks
        )
        return output.to(inputs.dtype)

    @torch.no_grad()
    def _update_running(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), momentum)


class GlobalBatchNorm2d(_GlobalBatchNorm, nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the statistics of the global batch."""


class _GlobalBatchNorm1d(_GlobalBatchNorm, nn.BatchNorm1d):
    """`nn.BatchNorm1d` with the statistics of the global batch."""


class _GlobalBatchNormAct2d(GlobalBatchNorm2d):
    """timm's BatchNormAct2d, which also applies an activation, with the statistics of the global batch."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalise `inputs` (n, C, H, W), each channel by itself, and apply the activation."""
        activated: torch.Tensor = self.get_submodule("act")(self.get_submodule("drop")(super().forward(inputs)))
        return activated


def global_kind(layer: nn.Module) -> type[_GlobalBatchNorm] | None:
    """Return the class that gives `layer`, a BatchNorm of torch or timm, the statistics of the global batch.

    Return None for other classes, and for a layer without weights or without running statistics.
    """
    if getattr(layer, "weight", None) is None or getattr(layer, "running_mean", None) is None:
        return None
    kinds = {nn.BatchNorm2d: GlobalBatchNorm2d, nn.BatchNorm1d: _GlobalBatchNorm1d}
    if type(layer).__name__ == "BatchNormAct2d" and type(layer).__module__.startswith("timm."):
        return _GlobalBatchNormAct2d
    return next(
        (kinds[kind] for kind in kinds if type(layer).forward is kind.forward and isinstance(layer, kind)), None
    )


def synchronize_batch_norm(module: nn.Module, ranks: Ranks, batch_size: int) -> None:
    """Make the BatchNorm layers in `module` compute their training statistics over all `ranks`. `module` is changed.

    `module` must be on its device already. `batch_size` is the size of the global batch in every training step.
    """
    if ranks.world_size == 1:
        return
    shares = shard_sizes(batch_size, ranks.world_size)
    for layer in module.modules():
        if (kind := global_kind(layer)) is not None:
            layer.__class__ = kind  # the state is kept; only `forward` and these attributes are new
            synchronized = cast(_GlobalBatchNorm, layer)
            synchronized.ranks, synchronized.shares = ranks, shares
            synchronized.weights = synchronized.weight.new_tensor(shares)[:, None]


def _global_moments(
    inputs: torch.Tensor, counts: torch.Tensor, total: int, ranks: Ranks
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean (C,) and the biased variance (C,) of each channel over the `inputs` (n, C, ...) of all `ranks`.

    The ranks' moments are combined by the formula of Chan, Golub and LeVeque (1979), which avoids cancellation.
    `counts` (W, 1) are the numbers of values that each rank has in a channel, and `total` is their sum.
    """
    # The kernel of BatchNorm itself: 4 (NCHW) to 20 (channels last) times faster than torch.var_mean on a CPU.
    mean, variance = torch.ops.aten.batch_norm_update_stats(inputs, None, None, 0.0)  # (C,), (C,)
    means, variances = ranks.all_gather(torch.cat([mean, variance])).chunk(2, dim=1)  # (W, C) both
    global_mean = (counts * means).sum(0) / total
    global_variance = (counts * (variances + (means - global_mean) ** 2)).sum(0) / total
    return global_mean, global_variance


class _Normalize(torch.autograd.Function):
    """Normalise by the global batch's mean and variance. The backward pass includes the gradient through both."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
        count: int,
        eps: float,
        ranks: Ranks,
    ) -> torch.Tensor:
        ctx.save_for_backward(inputs, weight, mean, variance)
        ctx.count, ctx.eps, ctx.ranks = count, eps, ranks
        return F.batch_norm(inputs, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight, mean, variance = ctx.saved_tensors
        # Moments taken as constants: grad * weight / std, sum(grad * normalised), sum(grad).
        grad_output = grad_outputs[0].contiguous(memory_format=_memory_format(inputs))
        grad_input, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad_output, inputs, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        channels = len(weight)
        # Gather and add up: gloo's all-reduce takes several times as long for so few numbers.
        sums = ctx.ranks.all_gather(torch.cat([grad_weight, grad_bias])).sum(0)  # (2C,)
        sum_weight, sum_bias = sums[:channels] / ctx.count, sums[channels:] / ctx.count  # (C,) both
        # What the moments contribute: -weight / std * (mean(grad) + normalised * mean(grad * normalised)).
        inverse_std = torch.rsqrt(variance + ctx.eps)
        slope = -weight * inverse_std**2 * sum_weight
        offset = -weight * inverse_std * sum_bias - slope * mean
        shape = (-1, *[1] * (inputs.ndim - 2))
        grad_input.addcmul_(inputs, slope.view(shape)).add_(offset.view(shape))
        return grad_input, grad_weight, grad_bias, None, None, None, None, None


def _memory_format(images: torch.Tensor) -> torch.memory_format:
    if images.ndim != 4:
        return torch.contiguous_format
    is_channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_channels_last else torch.contiguous_format
