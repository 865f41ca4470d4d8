"""Split a global batch into shards, and gather it from the ranks again.

After the gather, every rank computes the full, unscaled loss of the global batch. The gradient of a rank's network
parameters comes from its own slice only, and DDP averages gradients over the W ranks. The gather's backward therefore
returns W times the rank's slice, so that the average is exactly the gradient of one process with the whole batch.
Parameters of the loss itself, such as MDR's levels, get the full gradient on each rank and need no scaling.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdr_tune.metric.distance import check_tensors


def shard_sizes(total: int, world_size: int) -> list[int]:
    """Return the number of items that each of `world_size` ranks holds of `total` items.

    The split is that of `torch.tensor_split`: the first ranks hold one item more if the division has a remainder.

    Raises:
        ValueError: `total` is negative or `world_size` below 1.
    """
    if total < 0 or world_size < 1:
        raise ValueError(f"need total >= 0 and world_size >= 1, got {total} and {world_size}")
    share, remainder = divmod(total, world_size)
    return [share + (rank < remainder) for rank in range(world_size)]


def shard_slice(total: int, world_size: int, rank: int) -> slice:
    """Return the slice of `total` items that `rank` of `world_size` holds. Slices follow each other in rank order.

    Raises:
        ValueError: `total` is negative, `world_size` is below 1, or `rank` is not in [0, world_size).
    """
    sizes = shard_sizes(total, world_size)
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be in [0, {world_size}), got {rank}")
    start = sum(sizes[:rank])
    return slice(start, start + sizes[rank])


def gather_in_rank_order(local: Tensor, sizes: list[int], group: dist.ProcessGroup | None = None) -> Tensor:
    """Concatenate the ranks' tensors in rank order, differentiably: (sum of `sizes`, D).

    The gradient of `local` is W times its slice of the result's gradient (see the head of this file). Each rank must
    make this call with the same `sizes`. Without an initialised process group, or with one rank, the result is `local`.

    Args:
        local: (n_r, D), this rank's tensor; or any shape that is the same on all ranks except for its first dimension.
        sizes: n_r of each rank; sizes may differ, and may be 0.
        group: the process group; None is the default one.

    Raises:
        ValueError: `sizes` does not fit the number of ranks or the local tensor.
    """
    rank, world_size = _rank_and_world(group)
    _check_sizes(local, sizes, rank, world_size)
    if world_size == 1:
        return local
    gathered: Tensor = _GatherInRankOrder.apply(local, sizes, group)
    return gathered


@torch.no_grad()
def gather_without_gradient(local: Tensor, sizes: list[int], group: dist.ProcessGroup | None = None) -> Tensor:
    """Concatenate the ranks' tensors `local` in rank order, for labels and other data without a gradient.

    `local` may have any dtype. The other arguments, the result and the errors are those of `gather_in_rank_order`.
    """
    rank, world_size = _rank_and_world(group)
    _check_sizes(local, sizes, rank, world_size)
    return local if world_size == 1 else _gather(local, sizes, group)


class _GatherInRankOrder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, sizes: list[int], group: dist.ProcessGroup | None) -> Tensor:
        rank = dist.get_rank(group)
        ctx.world_size = len(sizes)
        ctx.own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        return _gather(local, sizes, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.own] * ctx.world_size, None, None


def _gather(local: Tensor, sizes: list[int], group: dist.ProcessGroup | None) -> Tensor:
    """Gather the shards `local`, padded to the largest of `sizes`, as not every backend takes different sizes."""
    padded = local.new_zeros((max(sizes), *local.shape[1:]))
    padded[: len(local)] = local
    shards = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(shards, padded, group=group)
    return torch.cat([shard[:size] for shard, size in zip(shards, sizes, strict=True)])


def _rank_and_world(group: dist.ProcessGroup | None) -> tuple[int, int]:
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(group), dist.get_world_size(group)


def _check_sizes(local: Tensor, sizes: list[int], rank: int, world_size: int) -> None:
    check_tensors(local=local)
    if len(sizes) != world_size:
        raise ValueError(f"sizes must have one entry for each of {world_size} ranks, got {sizes}")
    if len(local) != sizes[rank]:
        raise ValueError(f"rank {rank} holds {len(local)} rows but sizes say {sizes[rank]}: {sizes}")
