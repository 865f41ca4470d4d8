"""A home for an MLflow server that a test installs: nothing of the user's own is touched, nothing is left running."""

import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mdr_tune.cluster.mlflow_server import keepers, service
from tests.mlflow_globals import mlflow_globals_kept


@contextmanager
def server_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make `folder` the home, on a machine as if without systemd; uninstall at the end."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr(keepers, "RUNTIME", folder / "no_systemd")
    try:
        yield folder
    finally:
        monkeypatch.setenv("HOME", str(folder))
        service.uninstall(lambda _: None)
        assert processes_of(folder) == []


def processes_of(home: Path) -> list[str]:
    """Return the command lines of all processes whose home is `home`, this one left out."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("HOME") == str(home):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def status_code(url: str, headers: dict[str, str] | None = None, data: bytes | None = None) -> int:
    """Return the HTTP status of a request."""
    request = urllib.request.Request(url, headers={"Content-Type": "application/json", **(headers or {})}, data=data)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def log_a_run(address: str) -> str:
    """Write a run with a metric and a file; returns its id."""
    from mlflow import MlflowClient

    client = MlflowClient(address)
    run = client.create_run("0")
    client.log_metric(run.info.run_id, "val/recall_at_1", 61.5)
    client.log_text(run.info.run_id, "hello", "note.txt")
    return str(run.info.run_id)


def read_the_run(address: str, run_id: str) -> tuple[float, str]:
    """Return the metric and the file's text."""
    import mlflow

    with mlflow_globals_kept():
        mlflow.set_tracking_uri(address)
        value = mlflow.get_run(run_id).data.metrics["val/recall_at_1"]
        return value, mlflow.artifacts.load_text(f"runs:/{run_id}/note.txt")


def write_private(file: Path, text: str) -> None:
    """Write a file that others may not read."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(0o600)
