"""Find out how many CPUs this process may use, and share them with other processes of this program."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_processes, _fewest_threads = 1, 1


def usable_cpus(cgroups: Path = CGROUPS) -> int:
    """Return the number of CPUs that this process may run on, or the container's limit, rounded up, if it is smaller.

    `cgroups` is the folder in which the kernel publishes the limits of the container.
    """
    quota = _quota(cgroups)
    cpus = len(os.sched_getaffinity(0))
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def share_cpus(processes: int, fewest_threads: int) -> None:
    """Make `threads_to_start` return this process's share of the usable CPUs, at least `fewest_threads`, from now on.

    `processes` is the number of processes that share the CPUs of the machine, including this one.
    """
    global _processes, _fewest_threads
    _processes, _fewest_threads = processes, fewest_threads


def threads_to_start() -> int:
    """Return the number of threads that this process may start to compute: its share of the usable CPUs.

    Until `share_cpus` is called, all usable CPUs are its share.
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
