"""Collectives of torch.distributed that end sooner on a CPU."""

import time

import torch
import torch.distributed as dist
from torch import Tensor

_AWAKE_S = 2e-3
"""How long a process asks whether a collective is over, before it sleeps until then; in seconds."""


def all_gather(tensor: Tensor, group: dist.ProcessGroup | None = None) -> list[Tensor]:
    """Return what each rank passed, in rank order; of one shape and dtype on all, without a gradient."""
    gathered = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
    wait_for(dist.all_gather(gathered, tensor, group=group, async_op=True), tensor.device)
    return gathered


def wait_for(work: dist.Work | None, device: torch.device) -> None:
    """Wait until a collective is over; on a GPU, let its stream wait. None stands for one that is.

    On a CPU a small one takes a fraction of a millisecond, and as long again until the system has woken a process that
    slept meanwhile. So it stays awake at first.
    """
    if work is None:
        return
    sleep_at = time.perf_counter() + _AWAKE_S
    while device.type == "cpu" and not work.is_completed() and time.perf_counter() < sleep_at:
        time.sleep(0)  # lets others run
    work.wait()
