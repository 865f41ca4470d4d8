"""Which process a worker is, and how it is ended from another one on the same node."""

import contextlib
import os
import signal
from collections.abc import Collection, Iterator
from pathlib import Path

from mdr_tune.lanes.messages import WorkerProcess


def this_process(node: str, address: str = "") -> WorkerProcess:
    """Return how others find this process.

    Args:
        node: Ray's id of the node that it is on.
        address: Its IP address.
    """
    return WorkerProcess(os.getpid(), node, _started(os.getpid()), address)


def end_process(process: WorkerProcess, node: str) -> None:
    """SIGKILL a process, if it is on this node and still the same one.

    Not a milder signal, because what is to be ended may be stopped, or may hold the interpreter's lock in a library.

    Args:
        process: Which.
        node: Ray's id of this node.
    """
    if process.node == node and _started(process.pid) == process.started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def end_sessions(leaders: Collection[int]) -> None:
    """SIGKILL all processes of sessions of the system's, on this node.

    Args:
        leaders: Ids of the sessions, which are those of their first processes; where there is no /proc, only these end.
    """
    ended: set[int] = set()
    while found := {*leaders, *_members(leaders)} - ended:  # once more: a process may have started another
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended |= found


def _members(sessions: Collection[int]) -> Iterator[int]:
    """Yield the processes of sessions."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid := int(folder.name)) in sessions:
                yield pid


def _started(pid: int) -> str:
    """Return when a process was started, which tells it from a later one with its id; "" if there is no such process.

    Where there is no /proc, it is "" for all.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name before may have blanks
    except OSError:
        return ""
    return fields[19]  # field 22 of proc_pid_stat(5), in ticks since the machine was started
