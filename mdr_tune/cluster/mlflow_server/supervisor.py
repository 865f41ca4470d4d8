"""Keep the MLflow server running where systemd does not: start it again whenever it ends, until told to stop.

    python -m mdr_tune.cluster.mlflow_server.supervisor

At most one a user runs. SIGTERM ends it, and the server with it.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from mdr_tune.cluster.mlflow_server.server_process import ProcessId, end_group
from mdr_tune.cluster.mlflow_server.settings import log_file, server_folder
from mdr_tune.util.files import atomic_write

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
STEADY_AFTER_S = 60.0
"""A server that ran this long has started well: the next pause is the first one again."""
_POLL_S = 0.25
_STOP_PATIENCE_S = 15.0
"""More than the server gives to requests that it has begun to answer."""
_CRASH_PATIENCE_S = 2.0
SERVER_COMMAND = (sys.executable, "-m", "mdr_tune.cli.main", "mlflow-server", "run")
_LOCK_PATIENCE_S = 2.0
"""Somebody who asks whether there is a supervisor holds the lock for a moment."""


@dataclass
class SupervisorRecord:
    """What the supervisor tells of itself, for `status` and for a supervisor that comes after it.

    Attributes:
        pid: The supervisor's own process.
        server: The server's first process, its group's leader; None between two starts.
        restarts: How often the server was started again.
    """

    pid: int
    server: ProcessId | None = None
    restarts: int = 0

    def write(self) -> None:
        """Replace the record, whole or not at all."""
        with atomic_write(_record_file(), mode=0o600) as file:
            file.write(json.dumps(asdict(self)).encode())

    @staticmethod
    def read() -> "SupervisorRecord | None":
        """Return the last record, of a supervisor that may be gone; None if there is none."""
        try:
            values = json.loads(_record_file().read_text())
            server = values["server"]
            return SupervisorRecord(values["pid"], ProcessId(*server) if server else None, values["restarts"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def is_supervised() -> bool:
    """Say whether a supervisor of this user's server runs."""
    try:
        with _lock():
            return False
    except BlockingIOError:
        return True


def supervise(command: Sequence[str] = SERVER_COMMAND) -> None:
    """Run the server again and again; returns when told to stop by SIGTERM or SIGINT, or if another one does it.

    Args:
        command: What to run.
    """
    stop = _StopFlag()
    try:
        with _lock(_LOCK_PATIENCE_S):
            before = SupervisorRecord.read()
            record = SupervisorRecord(os.getpid(), before.server if before else None)
            record.write()
            end_left_over_server()
            _run_for_ever(command, record, stop)
            record.server = None
            record.write()
    except BlockingIOError:
        _say("another supervisor runs already")


def end_left_over_server() -> None:
    """End the server of a supervisor that was killed: it holds the port."""
    record = SupervisorRecord.read()
    if record is not None and record.server is not None and record.server.is_alive:
        end_group(record.server.pid)


def _run_for_ever(command: Sequence[str], record: SupervisorRecord, stop: "_StopFlag") -> None:
    pause = FIRST_PAUSE_S
    while not stop.is_set():
        began = time.monotonic()
        code = _run_once(command, record, stop)
        if stop.is_set():
            return
        if time.monotonic() - began > STEADY_AFTER_S:
            pause = FIRST_PAUSE_S
        _say(f"the server ended with exit code {code}; it is started again in {pause:.0f} s")
        stop.wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)
        record.restarts += 1


def _run_once(command: Sequence[str], record: SupervisorRecord, stop: "_StopFlag") -> int:
    """Start the server, wait for its end, or end it when told to stop; returns its exit code."""
    with log_file().open("ab") as log:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=server_folder()
        )
    try:
        record.server = ProcessId.of(server.pid)
        record.write()
        while server.poll() is None and not stop.is_set():
            time.sleep(_POLL_S)
    finally:
        # If it ended by itself, its workers may have outlived it, and keep the next one from the port.
        end_group(server.pid, _STOP_PATIENCE_S if stop.is_set() else _CRASH_PATIENCE_S)
        record.server = None
    return server.wait()


class _StopFlag:
    """Whether this process was told to stop."""

    def __init__(self) -> None:
        self._is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)

    def is_set(self) -> bool:
        """Return whether it was."""
        return self._is_set

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than until told to stop."""
        end = time.monotonic() + seconds
        while not self._is_set and time.monotonic() < end:
            time.sleep(_POLL_S)

    def _set(self, _number: int, _frame: FrameType | None) -> None:
        self._is_set = True


@contextlib.contextmanager
def _lock(patience_s: float = 0.0) -> Iterator[None]:
    """Hold the one lock of the user's supervisor; the system gives it back however the process ends.

    Raises:
        BlockingIOError: Another process holds it, also after `patience_s`.
    """
    server_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    end = time.monotonic() + patience_s
    with (server_folder() / "supervisor.lock").open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.05)
        yield


def _record_file() -> Path:
    return server_folder() / "supervisor.json"


def _say(text: str) -> None:
    print(time.strftime("%Y/%m/%d %H:%M:%S"), "supervisor:", text, flush=True)


if __name__ == "__main__":
    supervise()
