"""`mdr-tune mlflow-server`: what it says; the server itself is in tests/cluster."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.cluster.mlflow_server import service
from mdr_tune.cluster.mlflow_server.server_process import ProcessId
from mdr_tune.cluster.mlflow_server.settings import make_settings, server_folder, write_settings
from mdr_tune.cluster.mlflow_server.state import ServiceState
from tests.cli.run_command import run_and_read, run_command
from tests.cluster.mlflow_server.home import server_home
from tests.waiting import wait_for


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with server_home(tmp_path / "home", monkeypatch) as folder:
        yield folder


def test_without_a_server_status_says_how_to_get_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_command(capsys, "mlflow-server", "status")
    assert code == 1
    assert "mdr-tune mlflow-server install" in out


def test_uninstall_without_a_server_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_and_read(capsys, "mlflow-server", "uninstall") == (0, "There is no MLflow server installed\n")


def test_run_without_a_server_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run_and_read(capsys, "mlflow-server", "run")
    assert code == 2
    assert "mlflow-server install" in text


def test_a_taken_port_is_said_before_anything_is_started(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        code, text = run_and_read(capsys, "mlflow-server", "install", "--port", port)
    assert code == 2
    assert text.startswith(f"error: --port {port}: is taken by process ")
    assert service.status() is None


def test_a_password_on_the_command_line_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    uri = "postgresql://me:geheim@db/runs"
    code, out, err = run_command(capsys, "mlflow-server", "install", "--backend-store-uri", uri)
    assert code == 2
    assert "~/.pgpass" in err
    assert "geheim" not in out + err


def test_basic_auth_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run_and_read(capsys, "mlflow-server", "install", "--basic-auth")
    assert code == 2
    assert "Flask-WTF" in text or "MLFLOW_AUTH_ADMIN_PASSWORD" in text


def test_an_address_that_others_reach_comes_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as listener:  # the port is taken, so that nothing is opened to others by this test
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        arguments = ("--host", "0.0.0.0", "--port", listener.getsockname()[1])
        code, out, _ = run_command(capsys, "mlflow-server", "install", *arguments)
    assert code == 2
    assert "can read, change and delete all runs and models, without a password" in out
    assert "docs/mlflow_server.md" in out


def test_status_tells_of_a_server_that_does_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    write_settings(make_settings(public_urls=("https://mlflow.example.org",)))
    code, out, _ = run_command(capsys, "mlflow-server", "status")
    assert code == 1
    lines = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith(" "))
    assert lines["running"] == "no"
    assert lines["runs"] == f"sqlite:///{server_folder()}/mlflow.db"
    assert "https://mlflow.example.org" in out


def test_status_says_since_when_a_process_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    wait_for(lambda: ProcessId.of(process.pid) is not None)
    state = ServiceState(ProcessId.of(process.pid), restarts=2)
    monkeypatch.setattr(service.DetachedService, "state", lambda _: state)
    write_settings(make_settings(port=1))
    code, out, _ = run_command(capsys, "mlflow-server", "status")
    process.kill()
    process.wait()
    assert code == 1  # it runs, but nothing answers at that port
    assert f"process {process.pid}; does not answer" in out
    assert "2 times" in out
