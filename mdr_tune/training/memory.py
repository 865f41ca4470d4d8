"""The most memory that a trial has used."""

import torch
import torch.distributed as dist

from mdr_tune.training.ranks import Ranks

GIB = 2**30


class PeakMemory:
    """Measures from its making on.

    On a GPU it is what torch had allocated for tensors at most. On a CPU it is the peak resident set of the process,
    which has the libraries in it (0.3 GiB and more), and what the allocator kept from a trial before. Linux can set
    that peak back; where it cannot be (another system, or /proc is read-only), it is that of the process's whole life.

    Args:
        ranks: All of them make the same calls.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        if ranks.device.type == "cuda":
            torch.cuda.init()  # which the next call, unlike others, does not do by itself
            torch.cuda.reset_peak_memory_stats(ranks.device)
        else:
            _reset_peak_resident_set()

    def peak_gib(self) -> float:
        """Return the most so far on any rank, in GiB."""
        device = self._ranks.device
        mine = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _peak_resident_set()
        most = torch.tensor([mine / GIB], dtype=torch.float64, device=device)
        if self._ranks.world_size > 1:
            dist.all_reduce(most, op=dist.ReduceOp.MAX, group=self._ranks.group)
        return float(most)


def device_name(device: torch.device) -> str:
    """Return `cpu`, or the name of a GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _reset_peak_resident_set() -> None:
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # proc_pid_clear_refs(5): sets the peak resident set to what it is now
    except OSError:
        return  # then it stays what it was; see PeakMemory


def _peak_resident_set() -> int:
    """Return the peak resident set in bytes."""
    try:
        with open("/proc/self/status") as file:
            line = next(line for line in file if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        import resource  # of Unix only, where /proc may be missing
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
