"""The rank of this process among the DDP ranks of its trial, and collective operations of the ranks."""

from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import nn

from mdr_tune.metric import gather_without_gradient


@dataclass(frozen=True)
class Ranks:
    """Rank of this process, number of ranks, device and process group; by default a single rank on the CPU.

    Attributes:
        rank: Number of this rank, from 0.
        world_size: Number of ranks, W.
        device: Device that this rank computes on.
        group: Process group of the ranks; None is the default group. Not used when `world_size` is 1.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    group: dist.ProcessGroup | None = None

    @classmethod
    def current(cls, device: torch.device, group: dist.ProcessGroup | None = None) -> "Ranks":
        """Return the `Ranks` of this process, on `device`, in `group`; a single rank if there is no process group."""
        if not dist.is_initialized():
            return cls(device=device)
        return cls(dist.get_rank(group), dist.get_world_size(group), device, group)

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum `tensor` over the ranks, in place, and return it."""
        if self.world_size > 1:
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the ranks' `tensor`, which has the same shape on all of them, stacked in rank order: (W, *shape)."""
        return gather_without_gradient(tensor[None], [1] * self.world_size, self.group)

    def share_gradients(self, module: nn.Module) -> None:
        """Replace the gradients of `module`'s parameters by those of rank 0, on every rank.

        This is for parameters outside of DDP whose gradient each rank computes in full. A GPU may sum numbers in
        another order each time. Without this, the ranks' parameters would drift apart by rounding.
        """
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        if self.world_size == 1 or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.broadcast(flat, group=self.group, group_src=0)
        for gradient, shared in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(shared.view_as(gradient))
