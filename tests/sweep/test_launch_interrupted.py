"""An interrupt while the outcome of a sweep is recorded: the run is closed, whoever swallowed the exception."""

import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from mdr_tune.cluster.machine import Machine
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.records.journal import read_past
from mdr_tune.sweep import launch, recording
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.run import SweepRun
from mdr_tune.sweep.stores import Stores
from mdr_tune.tracking.tracker import Tracker
from mdr_tune.util.signals import sigterm_interrupts
from mdr_tune.util.sqlite_address import sqlite_url
from tests.faults.sweeps import Witness
from tests.mlflow_globals import mlflow_globals_kept
from tests.sweep.make import make_sweep


@pytest.fixture(autouse=True)
def _globals_back(environment_put_back: None) -> Iterator[None]:
    with mlflow_globals_kept():
        yield


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow's, which takes seconds to make."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(sqlite_url(file)).search_experiments()
    return file


def interrupt(*_: Any, **__: Any) -> None:
    signal.raise_signal(signal.SIGTERM)


def swallowed(*_: Any, **__: Any) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        interrupt()


def after(method: Callable[..., None]) -> Callable[..., None]:
    """Return the method, followed by an interrupt."""

    def both(*arguments: Any) -> None:
        method(*arguments)
        interrupt()

    return both


@pytest.mark.parametrize(
    ("owner", "step", "instead"),
    [
        (SweepRun, "search", swallowed),
        (recording, "_register_winner", interrupt),
        (recording, "_register_winner", swallowed),
        (recording, "_draw_figures", swallowed),
        (Tracker, "describe", interrupt),
        (Tracker, "close", after(Tracker.close)),
        (recording, "LaunchOutcome", interrupt),
    ],
)
def test_the_launch_ends_as_killed(
    tmp_path: Path,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    step: str,
    instead: Callable[..., None],
) -> None:
    shutil.copy(empty_store, tmp_path)
    stores = Stores(tmp_path, sqlite_url(tmp_path / "mlflow.db"))
    lanes = LaneResources(1, 1, 1, 0, max_restarts=0, stuck_worker_timeout_s=60)
    plan = Plan(make_sweep(), Path("a.yaml"), "name: letters\n", (), stores, Machine(1, 0, "here"), lanes, None)
    plan.folder.mkdir(parents=True)
    monkeypatch.setattr("mdr_tune.sweep.watch.LaneWatch", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(SweepRun, "search", lambda self: None)
    monkeypatch.setattr(owner, step, instead)
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
        launch.run_on(plan, None, Witness(), "launch.py")
    past = read_past(plan.folder)
    assert not past.finished
    assert past.parent_run_id is not None
    run = MlflowClient(stores.tracking_uri).get_run(past.parent_run_id)
    assert run.info.status == "KILLED"
    assert "Interrupted" in run.data.tags["mlflow.note.content"]
