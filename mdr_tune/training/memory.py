"""Measure the peak memory of a trial."""

import torch
import torch.distributed as dist

from mdr_tune.training.ranks import Ranks

GIB = 2**30


class PeakMemory:
    """Peak memory since this object was made. All `ranks` must make the same calls.

    On a GPU it is the most that torch has allocated for tensors. On a CPU it is the peak resident set of the process.
    The resident set includes the libraries (0.3 GiB and more), and memory that the allocator kept from an earlier
    trial. The peak resident set can be reset on Linux only, and only if /proc is writable. Elsewhere it is the peak
    since the process started.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        if ranks.device.type == "cuda":
            torch.cuda.init()  # unlike other calls, the next one does not do so itself
            torch.cuda.reset_peak_memory_stats(ranks.device)
        else:
            _reset_peak_resident_set()

    def peak_gib(self) -> float:
        """Return the greatest peak of all ranks so far, in GiB."""
        device = self._ranks.device
        mine = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _peak_resident_set()
        most = torch.tensor([mine / GIB], dtype=torch.float64, device=device)
        if self._ranks.world_size > 1:
            dist.all_reduce(most, op=dist.ReduceOp.MAX, group=self._ranks.group)
        return float(most)


def device_name(device: torch.device) -> str:
    """Return the name of the GPU `device`, or `cpu` if it is the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _reset_peak_resident_set() -> None:
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # proc_pid_clear_refs(5): sets the peak resident set to the present one
    except OSError:
        return  # the peak is not reset; see PeakMemory


def _peak_resident_set() -> int:
    """Return the peak resident set in bytes."""
    try:
        with open("/proc/self/status") as file:
            line = next(line for line in file if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        import resource  # exists on Unix only, also where there is no /proc
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
