"""How many CPUs this process may use, alone or beside others of its kind."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_processes, _fewest_threads = 1, 1


def usable_cpus(cgroups: Path = CGROUPS) -> int:
    """Return the number of CPUs that this process may run on, or fewer where a container has a share of them only.

    Args:
        cgroups: Folder where the kernel shows the limits of the container.
    """
    quota = _quota(cgroups)
    cpus = len(os.sched_getaffinity(0))
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def share_cpus(processes: int, fewest_threads: int) -> None:
    """Let this process start threads for its share of the usable CPUs only.

    Args:
        processes: How many, this one included, may compute on the machine at a time.
        fewest_threads: What it may start whatever its share is.
    """
    global _processes, _fewest_threads
    _processes, _fewest_threads = processes, fewest_threads


def threads_to_start() -> int:
    """Return how many threads that compute this process may start: one for each usable CPU, or its share of them."""
    return max(_fewest_threads, usable_cpus() // _processes)


def _quota(cgroups: Path) -> float | None:
    """Return how many CPUs' time the container has (`docker run --cpus=1.5`), None without a limit."""
    try:
        if (file := cgroups / "cpu.max").exists():  # of version 2: `150000 100000`, or `max 100000`
            quota, period = file.read_text().split()
        else:
            quota, period = ((cgroups / "cpu" / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
