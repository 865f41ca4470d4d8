"""Processes named by id and time of start: an id alone may by now be another process's."""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

_POLL_S = 0.1


class ProcessId(NamedTuple):
    """A process, for good.

    Attributes:
        pid: Its id.
        start_ticks: When it began, in clock ticks since the machine's start.
    """

    pid: int
    start_ticks: int

    @staticmethod
    def of(pid: int) -> "ProcessId | None":
        """Return the process that has an id now, None if there is none or it has ended and waits to be reaped."""
        try:
            # The name, in brackets, may hold spaces; state is the first column behind it, the start the twentieth.
            columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            return None
        return None if columns[0] in "ZX" else ProcessId(pid, int(columns[19]))

    @property
    def is_alive(self) -> bool:
        """Whether this very process runs."""
        return ProcessId.of(self.pid) == self

    @property
    def started_at(self) -> float:
        """When it began, in seconds since 1970."""
        booted = next(
            int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
        )
        return booted + self.start_ticks / os.sysconf("SC_CLK_TCK")


def end_group(leader: int, patience_s: float = 15.0) -> None:
    """End a process group: asked first, forced after a while; returns when no process of it is left.

    Args:
        leader: The group's id, which its first process had.
        patience_s: How long to wait before it is forced.
    """
    _signal_group(leader, signal.SIGTERM)
    end = time.monotonic() + patience_s
    while _group_lives(leader) and time.monotonic() < end:
        time.sleep(_POLL_S)
    _signal_group(leader, signal.SIGKILL)
    while _group_lives(leader):
        time.sleep(_POLL_S)


def _signal_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)


def _group_lives(leader: int) -> bool:
    """Say whether a process of the group runs; one that has ended and waits to be reaped does not."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            columns = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(columns[2]) == leader and columns[0] not in "ZX":
            return True
    return False
