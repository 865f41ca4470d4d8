"""Whether artifacts can be written, tried with a real MLflow server."""

import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mdr_tune.sweep.preflight.artifact_store import check_artifacts
from mdr_tune.sweep.preflight.problems import Problem
from mdr_tune.sweep.stores import Stores
from tests.mlflow_process import Server
from tests.sweep.make import make_sweep


@pytest.fixture(scope="module")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(server_folder: Path) -> Iterator[Server]:
    server = Server(server_folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def check(tracking_uri: str, folder: Path) -> list[Problem]:
    return check_artifacts(Stores(folder / "runs", tracking_uri), make_sweep().name)


@pytest.mark.slow
def test_a_server_that_takes_artifacts_and_keeps_none(server: Server, server_folder: Path, tmp_path: Path) -> None:
    assert check(server.uri, tmp_path) == []
    client = MlflowClient(server.uri)
    client.create_experiment(make_sweep().name)
    assert check(server.uri, tmp_path) == []
    assert [path for path in (server_folder / "artifacts").rglob("*") if path.is_file()] == []
    assert not list((server_folder / "artifacts").rglob("preflight-*"))
    assert len(client.search_experiments()) == 2
    assert client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]) == []


def test_a_server_that_cannot_write_artifacts(server: Server, server_folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(server_folder / "artifacts", ignore_errors=True)
    (server_folder / "artifacts").write_text("a file in place of the folder")
    try:
        (problem,) = check(server.uri, tmp_path)
    finally:
        (server_folder / "artifacts").unlink()
    assert problem.what.startswith(f"artifacts cannot be written through {server.uri}: ")
    assert not problem.is_note


def test_a_server_that_is_gone_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            with contextlib.suppress(OSError):  # the test is over
                while True:
                    connection, _ = listening.accept()
                    asked.append("once")
                    connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        (problem,) = check(f"http://127.0.0.1:{listening.getsockname()[1]}", tmp_path)
        listening.shutdown(socket.SHUT_RDWR)
    assert "artifacts cannot be written through" in problem.what
    assert len(asked) == 1


def test_a_local_store_is_not_asked(tmp_path: Path) -> None:
    assert check(f"sqlite:///{tmp_path}/mlflow.db", tmp_path) == []
    assert list(tmp_path.iterdir()) == []
