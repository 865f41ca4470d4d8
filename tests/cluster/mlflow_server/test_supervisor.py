"""The supervisor, real, over programs that start at once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.cluster.mlflow_server.server_process import ProcessId
from mdr_tune.cluster.mlflow_server.settings import log_file
from mdr_tune.cluster.mlflow_server.supervisor import SupervisorRecord, end_left_over_server, is_supervised
from tests.cluster.mlflow_server.home import processes_of
from tests.waiting import HANG_S, wait_for

SUPERVISE = "import sys; from mdr_tune.cluster.mlflow_server.supervisor import supervise; supervise(sys.argv[1:])"
WITH_A_WORKER = ("sh", "-c", "sleep 1000 & wait")


class Supervisors:
    """Starts supervisors of programs, within one home."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, *program: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", SUPERVISE, *program]
        environment = {**os.environ, "HOME": str(self._home)}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        end_left_over_server()


@pytest.fixture
def supervisors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisors]:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mdr_tune_mlflow").mkdir()
    started = Supervisors(tmp_path)
    yield started
    started.end()
    assert processes_of(tmp_path) == []


def server() -> ProcessId | None:
    record = SupervisorRecord.read()
    return record.server if record is not None and record.server is not None and record.server.is_alive else None


def test_a_killed_server_is_started_again_without_what_it_left(supervisors: Supervisors, tmp_path: Path) -> None:
    supervisors.start(*WITH_A_WORKER)
    wait_for(lambda: server() is not None)
    first = server()
    assert first is not None
    wait_for(lambda: any("sleep" in line for line in processes_of(tmp_path) if not line.startswith("sh")))
    (worker,) = [int(p) for p in _children(first.pid)]
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: server() not in (None, first))
    assert ProcessId.of(worker) is None
    record = SupervisorRecord.read()
    assert record is not None
    assert record.restarts == 1


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_server_that_ends_at_once_is_started_for_ever_but_ever_more_slowly(supervisors: Supervisors) -> None:
    process = supervisors.start("sh", "-c", "exit 7")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    for line, pause in zip(lines, (1, 2, 4), strict=True):
        assert f"supervisor: the server ended with exit code 7; it is started again in {pause} s" in line


def test_it_ends_its_server_when_told_to(supervisors: Supervisors, tmp_path: Path) -> None:
    process = supervisors.start(*WITH_A_WORKER)
    wait_for(lambda: server() is not None)
    assert is_supervised()
    process.terminate()
    assert process.wait(HANG_S) == 0
    assert processes_of(tmp_path) == []
    assert not is_supervised()


def test_it_can_be_told_so_between_two_starts(supervisors: Supervisors) -> None:
    process = supervisors.start("false")
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()  # the third pause lasts 4 s
    process.terminate()
    assert process.wait(HANG_S) == 0


def test_there_is_one_at_most(supervisors: Supervisors) -> None:
    supervisors.start("sleep", "1000")
    wait_for(lambda: server() is not None)
    first = server()
    second = supervisors.start("sleep", "1000")
    output, _ = second.communicate(timeout=HANG_S)
    assert "another supervisor runs already" in output
    assert second.returncode == 0
    assert server() == first


def test_the_server_of_a_killed_supervisor_is_ended_by_the_next(supervisors: Supervisors) -> None:
    process = supervisors.start("sleep", "1000")
    wait_for(lambda: server() is not None)
    orphan = server()
    assert orphan is not None
    process.kill()
    process.wait()
    assert not is_supervised()
    assert orphan.is_alive
    supervisors.start("sleep", "1000")
    wait_for(lambda: server() not in (None, orphan))
    assert not orphan.is_alive


def test_what_the_server_prints_is_in_the_log(supervisors: Supervisors) -> None:
    supervisors.start("sh", "-c", "echo to stdout; echo to stderr >&2; exec sleep 1000")
    wait_for(lambda: log_file().exists() and log_file().read_text() == "to stdout\nto stderr\n")
