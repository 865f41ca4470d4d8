"""A server under supervisord that is installed, used without credentials, killed, changed and uninstalled; all real."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mdr_tune.cluster.mlflow_server import keepers, service
from mdr_tune.cluster.mlflow_server.settings import log_file, make_settings, server_folder
from mdr_tune.util.errors import UserError
from tests.cluster.mlflow_server.home import (
    free_port,
    log_a_run,
    processes_of,
    read_the_run,
    server_home,
    status_code,
    write_private,
)
from tests.waiting import wait_for

pytestmark = pytest.mark.slow  # a server takes 15 s to start


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with server_home(tmp_path / "home of 100 %b", monkeypatch) as folder:
        yield folder


def install(**arguments: Any) -> tuple[service.ServerStatus, str]:
    """Install, and return the status and what was told."""
    told: list[str] = []
    status = service.install(make_settings(**arguments), told.append)
    return status, "\n".join(told)


def server_of(status: service.ServerStatus | None) -> psutil.Process:
    assert status is not None
    assert status.state is not None
    assert status.state.process is not None
    return status.state.process


def test_it_is_installed_answers_comes_back_after_a_kill_and_leaves_nothing(home: Path) -> None:
    status, told = install(port=free_port())
    address = status.settings.address
    assert "does not come back after a reboot, unless you add this line to your crontab" in told
    assert service.status() == status
    run_id = log_a_run(address)
    assert read_the_run(address, run_id) == (61.5, "hello")
    assert list((server_folder() / "artifacts").rglob("note.txt"))
    for name in ("mlflow.db", "server.log"):
        assert (server_folder() / name).stat().st_mode & 0o077 == 0

    search = f"{address}/api/2.0/mlflow/experiments/search?max_results=1"
    assert status_code(search, {"Host": "localhost:8080"}) == 200  # through a tunnel
    assert status_code(search, {"Host": "evil.example.org"}) == 403
    post = f"{address}/api/2.0/mlflow/experiments/create"
    assert status_code(post, {"Origin": "https://evil.example.org"}, b'{"name": "x"}') == 403

    again, told = install(port=status.settings.port)
    assert "runs already" in told
    assert server_of(again) == server_of(status)

    workers = server_of(status).children(recursive=True)
    os.kill(server_of(status).pid, signal.SIGKILL)  # its workers outlive it, and hold the port
    wait_for(lambda: _restarts() == 1 and service.answers(status.settings))
    wait_for(lambda: not any(worker.is_running() for worker in workers))
    assert server_of(service.status()) != server_of(status)
    assert read_the_run(address, run_id) == (61.5, "hello")

    said: list[str] = []
    service.uninstall(said.append)
    assert "Its data is still in sqlite" in said[0]
    assert processes_of(home) == []
    assert service.status() is None
    assert (server_folder() / "mlflow.db").exists()


def _restarts() -> int:
    status = service.status()
    return status.state.restarts if status is not None and status.state is not None else -1


def test_other_settings_restart_it_and_a_killed_supervisord_is_followed_by_a_new_one(home: Path) -> None:
    first, _ = install(port=free_port())
    run_id = log_a_run(first.settings.address)
    second, told = install(port=free_port())
    assert "stopped, to be started with other settings" in told
    assert not service.answers(first.settings)
    assert read_the_run(second.settings.address, run_id) == (61.5, "hello")

    server_of(second).parent().kill()
    wait_for(lambda: keepers.Supervisord().state() is None)
    assert server_of(second).is_running()  # the server itself goes on
    write_private(server_folder() / "environment", "MLFLOW_S3_ENDPOINT_URL=http://127.0.0.1:9000\n")
    third, _ = install(port=second.settings.port)
    assert not server_of(second).is_running()
    assert server_of(third).environ()["MLFLOW_S3_ENDPOINT_URL"] == "http://127.0.0.1:9000"
    (server_folder() / "environment").unlink()
    fourth, told = install(port=second.settings.port)
    assert "stopped, to be started with other settings" in told
    assert "MLFLOW_S3_ENDPOINT_URL" not in server_of(fourth).environ()


@pytest.mark.parametrize("small_disk", [300], indirect=True)
def test_a_server_that_does_not_start_is_not_left_behind(home: Path, small_disk: Path) -> None:
    """The disk is filled after the checks: as if by somebody else, between them and the start."""
    settings = make_settings(f"sqlite:///{small_disk}/mlflow.db", port=free_port())
    checked = service.check_settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "check_settings", lambda s: (checked(s), _fill(small_disk)))
        with pytest.raises(UserError) as caught:
            service.install(settings, lambda _: None)
    first, *log = str(caught.value).splitlines()
    assert first == f"the MLflow server does not start. The end of {log_file()}:"
    assert any("disk is full" in line for line in log)
    assert not any(line.startswith(" ") for line in log)
    assert processes_of(home) == []
    assert service.status() is None


def _fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(bytes(4096)):
            pass
