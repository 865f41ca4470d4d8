"""`mdr-tune mlflow-server`: what it says; the server itself is in tests/cluster."""

import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mdr_tune.cluster.mlflow_server import keepers, service
from mdr_tune.cluster.mlflow_server.settings import make_settings, server_folder, write_settings
from tests.cli.run_command import run_and_read, run_command
from tests.cluster.mlflow_server.home import server_home


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with server_home(tmp_path / "home", monkeypatch) as folder:
        yield folder


def test_without_a_server_each_action_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_command(capsys, "mlflow-server", "status")
    assert code == 1
    assert "mdr-tune mlflow-server install" in out
    assert run_and_read(capsys, "mlflow-server", "uninstall") == (0, "There is no MLflow server installed\n")
    code, text = run_and_read(capsys, "mlflow-server", "run")
    assert code == 2
    assert "mlflow-server install" in text


def test_basic_auth_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run_and_read(capsys, "mlflow-server", "install", "--basic-auth")
    assert code == 2
    assert "Flask-WTF" in text or "MLFLOW_AUTH_ADMIN_PASSWORD" in text


def test_a_taken_port_and_an_address_that_others_reach_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as listener:  # the port is taken, so that nothing is opened to others by this test
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        code, out, err = run_command(capsys, "mlflow-server", "install", "--host", "0.0.0.0", "--port", port)
    assert code == 2
    assert "can read, change and delete all runs and models, without a password" in out
    assert "docs/mlflow_server.md" in out
    assert err.startswith(f"error: --port {port}: is taken by process ")
    assert service.status() is None


def test_status_tells_whether_and_since_when_it_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_settings(make_settings(port=1, public_urls=("https://mlflow.example.org",)))
    code, out, _ = run_command(capsys, "mlflow-server", "status")
    assert code == 1
    lines = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith(" "))
    assert lines["running"] == "no"
    assert lines["runs"] == f"sqlite:///{server_folder()}/mlflow.db"
    assert "https://mlflow.example.org" in out

    state = keepers.KeeperState(psutil.Process(), restarts=2)
    monkeypatch.setattr(keepers.Supervisord, "state", lambda _: state)
    code, out, _ = run_command(capsys, "mlflow-server", "status")
    assert code == 1  # it runs, but nothing answers at that port
    assert f"process {psutil.Process().pid}; does not answer" in out
    assert "2 times" in out
