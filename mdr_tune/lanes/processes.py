"""Identify a worker's process, and end it from another process on the same node."""

import contextlib
import os
import signal
from collections.abc import Collection, Iterator
from pathlib import Path

from mdr_tune.lanes.messages import WorkerProcess


def this_process(node: str, address: str = "") -> WorkerProcess:
    """Return the identity of this process on the node with Ray's id `node` and the IP address `address`."""
    return WorkerProcess(os.getpid(), node, _started(os.getpid()), address)


def end_process(process: WorkerProcess, node: str) -> None:
    """Kill `process` if it runs on this node, whose id in Ray is `node`. A later process with its pid is spared.

    The signal is SIGKILL. Other signals do nothing while the process is stopped, or while a library in it holds the
    interpreter's lock.
    """
    if process.node == node and _started(process.pid) == process.started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def end_sessions(leaders: Collection[int]) -> None:
    """Kill (SIGKILL) the processes with the ids `leaders`, and all processes in the sessions that they lead.

    Without /proc, only the leaders themselves are killed.
    """
    ended: set[int] = set()
    while found := {*leaders, *_members(leaders)} - ended:  # until none is left: a process may have started another
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended |= found


def _members(sessions: Collection[int]) -> Iterator[int]:
    """Yield the ids of the processes in `sessions`. The id of a session is the process id of its leader."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid := int(folder.name)) in sessions:
                yield pid


def _started(pid: int) -> str:
    """Return the start time of the process `pid`; "" if there is no such process, or no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name before `)` may have blanks
    except OSError:
        return ""
    return fields[19]  # field 22 of proc_pid_stat(5), in ticks since the machine was started
