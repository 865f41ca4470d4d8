"""Whether artifacts can be written, tried with a real MLflow server."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mdr_tune.cluster.machine import Machine
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.preflight.artifacts import check_artifacts
from mdr_tune.sweep.resources import fit_lanes
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


def plan_with(tracking_uri: str, folder: Path) -> Plan:
    sweep = make_sweep()
    machine = Machine(4, 0, "a test")
    stores = Stores(folder / "runs", tracking_uri)
    return Plan(sweep, folder / "sweep.yaml", "", (), stores, machine, fit_lanes(sweep, machine), "auto")


@pytest.mark.slow
def test_a_server_that_takes_artifacts_and_keeps_none(server: Server, server_folder: Path, tmp_path: Path) -> None:
    assert check_artifacts(plan_with(server.uri, tmp_path)) == []
    client = MlflowClient(server.uri)
    client.create_experiment(make_sweep().name)
    assert check_artifacts(plan_with(server.uri, tmp_path)) == []
    assert [path for path in (server_folder / "artifacts").rglob("*") if path.is_file()] == []
    assert not list((server_folder / "artifacts").rglob("preflight-*"))
    assert len(client.search_experiments()) == 2
    assert client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]) == []


def test_a_server_that_cannot_write_artifacts(server: Server, server_folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(server_folder / "artifacts", ignore_errors=True)
    (server_folder / "artifacts").write_text("a file in place of the folder")
    try:
        (problem,) = check_artifacts(plan_with(server.uri, tmp_path))
    finally:
        (server_folder / "artifacts").unlink()
    assert problem.what.startswith(f"artifacts cannot be written through {server.uri}: ")
    assert not problem.is_note


def test_a_server_that_is_gone_is_told_soon(tmp_path: Path) -> None:
    started = time.monotonic()
    (problem,) = check_artifacts(plan_with("http://127.0.0.1:9", tmp_path))
    assert "refused" in problem.what
    assert time.monotonic() - started < 20


def test_a_local_store_is_not_asked(tmp_path: Path) -> None:
    assert check_artifacts(plan_with(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
