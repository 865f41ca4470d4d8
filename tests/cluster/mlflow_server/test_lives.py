"""A server that is installed, used without credentials, killed, changed and uninstalled; everything real."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.cluster.mlflow_server import service
from mdr_tune.cluster.mlflow_server.ports import listening_pid
from mdr_tune.cluster.mlflow_server.settings import log_file, make_settings, server_folder
from mdr_tune.cluster.mlflow_server.supervisor import SupervisorRecord, is_supervised
from mdr_tune.util.errors import UserError
from tests.cluster.mlflow_server.home import processes_of, server_home, status_code
from tests.mlflow_globals import mlflow_globals_kept
from tests.waiting import wait_for

pytestmark = pytest.mark.slow  # a server takes 15 s to start; tests/cluster/mlflow_server/test_supervisor.py is quick


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with server_home(tmp_path / "home", monkeypatch) as folder:
        yield folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def install(**arguments: Any) -> tuple[service.ServerStatus, str]:
    """Install, and return the status and what was told."""
    told: list[str] = []
    status = service.install(make_settings(**arguments), told.append)
    return status, "\n".join(told)


def server_of(status: service.ServerStatus | None) -> tuple[int, int]:
    """Return process and restarts."""
    assert status is not None
    assert status.state is not None
    assert status.state.process is not None
    return status.state.process.pid, status.state.restarts


def log_a_run(address: str) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(address)
    run = client.create_run("0")
    client.log_metric(run.info.run_id, "val/recall_at_1", 61.5)
    client.log_text(run.info.run_id, "hello", "note.txt")
    return str(run.info.run_id)


def read_the_run(address: str, run_id: str) -> tuple[float, str]:
    import mlflow

    with mlflow_globals_kept():
        mlflow.set_tracking_uri(address)
        value = mlflow.get_run(run_id).data.metrics["val/recall_at_1"]
        return value, mlflow.artifacts.load_text(f"runs:/{run_id}/note.txt")


def test_it_is_installed_answers_comes_back_after_a_kill_and_leaves_nothing(home: Path) -> None:
    status, told = install(port=free_port())
    address = status.settings.address
    assert "will not come back after a reboot" in told
    assert service.status() == status
    run_id = log_a_run(address)
    assert read_the_run(address, run_id) == (61.5, "hello")
    assert list((server_folder() / "artifacts").rglob("note.txt"))
    assert (server_folder() / "mlflow.db").stat().st_mode & 0o077 == 0

    search = f"{address}/api/2.0/mlflow/experiments/search?max_results=1"
    assert status_code(search, {"Host": "localhost:8080"}) == 200  # through a tunnel
    assert status_code(search, {"Host": "evil.example.org"}) == 403
    post = f"{address}/api/2.0/mlflow/experiments/create"
    assert status_code(post, {"Origin": "https://evil.example.org"}, b'{"name": "x"}') == 403

    again, told = install(port=status.settings.port)
    assert "runs already" in told
    assert server_of(again) == server_of(status)

    pid, _ = server_of(status)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: _restarts() == 1 and service.answers(status.settings))
    assert server_of(service.status())[0] != pid
    assert read_the_run(address, run_id) == (61.5, "hello")

    said: list[str] = []
    service.uninstall(said.append)
    assert "Its data is still in sqlite:///" in said[0]
    assert processes_of(home) == []
    assert service.status() is None
    assert listening_pid(status.settings.port) is None
    assert (server_folder() / "mlflow.db").exists()


def _restarts() -> int:
    status = service.status()
    return status.state.restarts if status is not None and status.state is not None else -1


def test_other_settings_restart_it_and_a_killed_supervisor_is_followed_by_a_new_one(home: Path) -> None:
    first, _ = install(port=free_port())
    run_id = log_a_run(first.settings.address)
    second, told = install(port=free_port())
    assert "stopped, to be started with other settings" in told
    assert not service.answers(first.settings)
    assert read_the_run(second.settings.address, run_id) == (61.5, "hello")

    record = SupervisorRecord.read()
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    wait_for(lambda: not is_supervised())
    left_over = listening_pid(second.settings.port)
    assert left_over is not None  # the server itself goes on
    status = service.status()
    assert status is not None
    assert status.state is None
    third, _ = install(port=second.settings.port)
    assert server_of(third)[0] not in (left_over, server_of(second)[0])
    assert listening_pid(third.settings.port) != left_over

    (server_folder() / "environment").write_text("MLFLOW_S3_ENDPOINT_URL=http://127.0.0.1:9000\n")
    (server_folder() / "environment").chmod(0o600)
    fourth, _ = install(port=second.settings.port)
    assert server_of(fourth)[0] != server_of(third)[0]
    environment = Path(f"/proc/{server_of(fourth)[0]}/environ").read_bytes()
    assert b"MLFLOW_S3_ENDPOINT_URL=http://127.0.0.1:9000" in environment


@pytest.mark.parametrize("small_disk", [300], indirect=True)
def test_a_server_that_does_not_start_is_not_left_behind(home: Path, small_disk: Path) -> None:
    """The disk is filled after the checks: as if by somebody else, between them and the start."""
    settings = make_settings(f"sqlite:///{small_disk}/mlflow.db", port=free_port())
    checked = service.check_settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "check_settings", lambda s: (checked(s), _fill(small_disk)))
        with pytest.raises(UserError) as caught:
            service.install(settings, lambda _: None)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("the MLflow server does not start: make room on the disk.")
    assert str(log_file()) in lines[0]
    assert len(lines) > 3
    assert processes_of(home) == []
    assert service.status() is None


def _fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(bytes(4096)):
            pass
