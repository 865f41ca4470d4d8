"""Find out how many CPUs this process may use, and share the CPUs with other processes of this program."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_processes, _fewest_threads = 1, 1


def usable_cpus(cgroups: Path = CGROUPS) -> int:
    """Return the number of CPUs that this process may use: its CPU affinity, or the container's limit if smaller.

    `cgroups` is the folder in which the kernel publishes the limits of the container. A limit of 1.5 counts as 2.
    """
    quota = _quota(cgroups)
    cpus = len(os.sched_getaffinity(0))
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def share_cpus(processes: int, fewest_threads: int) -> None:
    """From now on, make `threads_to_start` return this process's share of the usable CPUs, at least `fewest_threads`.

    `processes` is the number of processes that share the CPUs of the machine, including this one.
    """
    global _processes, _fewest_threads
    _processes, _fewest_threads = processes, fewest_threads


def threads_to_start() -> int:
    """Return how many threads for computing this process may start: its share of the usable CPUs, set by `share_cpus`.

    Until `share_cpus` is called, the share is all usable CPUs.
    """
    return max(_fewest_threads, usable_cpus() // _processes)


def _quota(cgroups: Path) -> float | None:
    """Return the container's limit in CPUs, such as 1.5 after `docker run --cpus=1.5`; None if there is no limit."""
    try:
        if (file := cgroups / "cpu.max").exists():  # cgroups 2: `150000 100000`, or `max 100000`
            quota, period = file.read_text().split()
        else:
            quota, period = ((cgroups / "cpu" / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
