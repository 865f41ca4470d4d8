"""BatchNorm whose training statistics span the global batch, so that W ranks equal one.

On GPUs that is torch's SyncBatchNorm, which runs nowhere else. The one here runs wherever torch.distributed does, gloo
on CPUs included. The ranks' shares of the batch may differ in size. It costs one small all-gather forward and one
backward a layer.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import nn

from mdr_tune.training.ranks import Ranks


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over the global batch; the same parameters, buffers and state dict.

    In eval mode, and with one rank, it is `nn.BatchNorm2d`. Gradients are those of one rank with the global batch, in
    the convention of this project: each rank's incoming gradient is W times its share, and DDP averages parameters.
    """

    ranks = Ranks()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalise (n, C, H, W) per channel."""
        if not self.training or self.ranks.world_size == 1 or self.running_mean is None:
            return super().forward(inputs)
        full = inputs.to(self.weight.dtype)  # of lower precision under autocast: moments and sums are not
        mean, variance, count = _global_moments(full.detach(), self.ranks)
        self._update_running(mean, variance, count)
        output: torch.Tensor = _Normalize.apply(
            full, self.weight, self.bias, mean, variance, count, self.eps, self.ranks
        )
        return output.to(inputs.dtype)

    @torch.no_grad()
    def _update_running(self, mean: torch.Tensor, variance: torch.Tensor, count: float) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), momentum)


def synchronize_batch_norm(module: nn.Module, ranks: Ranks) -> None:
    """Make every `nn.BatchNorm2d` in `module` take its training statistics over `ranks`, in place."""
    if ranks.world_size == 1:
        return
    if ranks.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module, ranks.group)
        return
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.__class__ = GlobalBatchNorm2d  # the same state; only `forward` and the ranks are new
            cast(GlobalBatchNorm2d, layer).ranks = ranks


def _global_moments(inputs: torch.Tensor, ranks: Ranks) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return mean (C,), biased variance (C,) and count of values a channel, over all ranks.

    The ranks' moments are combined as Chan, Golub and LeVeque (1979) do, which does not cancel.
    """
    # The kernel of BatchNorm itself: 4 (NCHW) to 20 (channels last) times faster than torch.var_mean on a CPU.
    mean, variance = torch.ops.aten.batch_norm_update_stats(inputs, None, None, 0.0)  # (C,), (C,)
    count = torch.full_like(mean[:1], inputs.numel() / inputs.shape[1])
    mine = torch.cat([mean, variance, count])  # (2C + 1,)
    stacked = ranks.all_gather(mine)  # (W, 2C + 1)
    channels = inputs.shape[1]
    counts = stacked[:, 2 * channels :]  # (W, 1)
    means, variances = stacked[:, :channels], stacked[:, channels : 2 * channels]  # (W, C) both
    total = counts.sum()
    global_mean = (counts * means).sum(0) / total
    global_variance = (counts * (variances + (means - global_mean) ** 2)).sum(0) / total
    return global_mean, global_variance, float(total)


class _Normalize(torch.autograd.Function):
    """Normalisation with given global moments, whose backward accounts for their dependence on all ranks' inputs."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        mean: torch.Tensor,
        variance: torch.Tensor,
        count: float,
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
        # Gathered and added up: gloo's all-reduce takes several times as long for so few numbers.
        sums = ctx.ranks.all_gather(torch.cat([grad_weight, grad_bias])).sum(0)  # (2C,)
        sum_weight, sum_bias = sums[:channels] / ctx.count, sums[channels:] / ctx.count  # (C,) both
        # What the moments contribute: -weight / std * (mean(grad) + normalised * mean(grad * normalised)).
        inverse_std = torch.rsqrt(variance + ctx.eps)
        slope = -weight * inverse_std**2 * sum_weight
        offset = -weight * inverse_std * sum_bias - slope * mean
        grad_input.addcmul_(inputs, slope[:, None, None]).add_(offset[:, None, None])
        return grad_input, grad_weight, grad_bias, None, None, None, None, None


def _memory_format(images: torch.Tensor) -> torch.memory_format:
    is_channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_channels_last else torch.contiguous_format
