"""Ending a worker's process, a real one."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.lanes.processes import _started, end_process, end_sessions, this_process
from tests.waiting import HANG_S, wait_for


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_stopped_process_on_this_node_is_ended(sleeper: subprocess.Popen[bytes]) -> None:
    it = dataclasses.replace(this_process("here"), pid=sleeper.pid, started=_started(sleeper.pid))
    os.kill(sleeper.pid, signal.SIGSTOP)
    end_process(it, "here")
    assert sleeper.wait(HANG_S) == -signal.SIGKILL
    end_process(it, "here")  # gone already


@pytest.mark.parametrize(("node", "started"), [("elsewhere", None), ("here", "1")], ids=["other node", "pid reused"])
def test_another_process_is_left_alone(sleeper: subprocess.Popen[bytes], node: str, started: str | None) -> None:
    its_start = _started(sleeper.pid) if started is None else started
    end_process(dataclasses.replace(this_process(node), pid=sleeper.pid, started=its_start), "here")
    assert sleeper.poll() is None


def test_a_process_is_told_from_others() -> None:
    assert this_process("n").pid == os.getpid()
    assert this_process("n") == this_process("n")
    assert _started(os.getpid()) != ""


def test_sessions_end_with_the_groups_that_are_in_them(sleeper: subprocess.Popen[bytes]) -> None:
    program = """
import os, subprocess, time
other = subprocess.Popen(["sleep", "100000"], process_group=0)
print(other.pid, os.getpgid(other.pid) == other.pid, flush=True)
time.sleep(100000)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as leader:
        assert leader.stdout is not None
        pid, has_own_group = leader.stdout.readline().split()
        os.kill(int(pid), signal.SIGSTOP)
        end_sessions([leader.pid])
    assert (leader.returncode, has_own_group) == (-signal.SIGKILL, "True")
    wait_for(lambda: not _runs(int(pid)), "its end")
    assert sleeper.poll() is None
    end_sessions([leader.pid])  # gone already


def _runs(pid: int) -> bool:
    """Say whether there is such a process, and it does not only wait to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
