"""What a launch finds of its sweep in the store: what was deleted is refused, with a command that restores it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mdr_tune.cluster.machine import Machine
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.records.journal import FILE as JOURNAL
from mdr_tune.records.journal import Past, read_past
from mdr_tune.sweep.in_store import check_in_store
from mdr_tune.sweep.launch import run_on
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.stored_launches import STUDIES
from mdr_tune.sweep.stores import Stores
from mdr_tune.tracking.deleted import describe_deleted
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.moved import follow
from mdr_tune.tracking.reader import read_sweep
from mdr_tune.tracking.tags import METRIC_TAG, TRIAL_TAG, run_tags
from mdr_tune.util.errors import UserError
from mdr_tune.util.sqlite_address import sqlite_url
from tests.empty_store import put_empty_store
from tests.faults.sweeps import Witness
from tests.mlflow_globals import mlflow_globals_kept
from tests.sweep.make import make_sweep


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a launch of three trials."""
    storage = tmp_path_factory.mktemp("template")
    put_empty_store(storage / "mlflow.db")
    client = MlflowClient(sqlite_url(storage / "mlflow.db"))
    experiment = open_experiment(client, "letters", storage / "mlartifacts")
    parent = client.create_run(experiment, tags={**run_tags("sweep"), METRIC_TAG: "val/recall_at_1"}).info.run_id
    client.log_text(parent, "name: letters", "sweep.yaml")
    for number in (1, 2, 3):
        client.create_run(experiment, tags={**run_tags(f"mdr-00{number}"), MLFLOW_PARENT_RUN_ID: parent})
    return storage


@pytest.fixture
def stores(template: Path, tmp_path: Path, environment_put_back: None) -> Iterator[Stores]:
    shutil.copy(template / "mlflow.db", tmp_path)
    yield Stores(tmp_path, sqlite_url(tmp_path / "mlflow.db"))
    follow(None, [])


@pytest.fixture
def mlflow_globals_back() -> Iterator[None]:
    with mlflow_globals_kept():
        yield


def client_of(stores: Stores) -> MlflowClient:
    return MlflowClient(stores.tracking_uri)


def runs_of(stores: Stores) -> dict[str, str]:
    """Return the ids of the runs that are not deleted, by name."""
    client = client_of(stores)
    experiment = client.get_experiment_by_name("letters").experiment_id
    return {run.info.run_name: run.info.run_id for run in client.search_runs([experiment])}


def problem(stores: Stores, past: Past) -> str:
    with pytest.raises(UserError) as error:
        check_in_store(stores, "letters", past)
    return str(error.value)


def restore(text: str) -> None:
    """Run the command that a message ends with."""
    subprocess.run("MLFLOW_TRACKING_URI=" + text.partition("MLFLOW_TRACKING_URI=")[2], shell=True, check=True)


def test_nothing_is_wrong(stores: Stores, tmp_path: Path) -> None:
    assert check_in_store(stores, "letters", Past(parent_run_id=runs_of(stores)["sweep"])) == []
    assert check_in_store(stores, "of another name", Past()) == []
    new = Stores(tmp_path / "new", sqlite_url(tmp_path / "new" / "mlflow.db"))
    assert check_in_store(new, "letters", Past()) == []
    assert not new.storage.exists()


def test_a_deleted_experiment_comes_back_with_its_runs(stores: Stores) -> None:
    runs, client = runs_of(stores), client_of(stores)
    client.delete_experiment(client.get_experiment_by_name("letters").experiment_id)
    for past in (Past(), Past(parent_run_id=runs["sweep"])):
        text = problem(stores, past)
        assert text.startswith("the MLflow experiment 'letters' was deleted, and its name is still taken")
    with pytest.raises(UserError, match="'letters' was deleted"):
        read_sweep(client, "letters")
    restore(text)
    assert check_in_store(stores, "letters", Past(parent_run_id=runs["sweep"])) == []
    assert runs_of(stores) == runs


def test_a_deleted_launch_comes_back_with_the_trials_that_were_deleted_too(stores: Stores) -> None:
    runs, client = runs_of(stores), client_of(stores)
    past = Past(parent_run_id=runs["sweep"])
    client.delete_run(runs["mdr-002"])
    text = problem(stores, past)
    assert text.startswith("--resume letters: 1 trial of it was deleted in MLflow (mdr-002); restore: MLFLOW_TRACKING")
    left_out = describe_deleted(client, read_sweep(client, "letters"))
    assert left_out is not None
    assert left_out.startswith("Left out, since deleted in MLflow: mdr-002. To restore: MLFLOW_TRACKING_URI=")
    client.delete_run(runs["mdr-003"])
    assert "2 trials of it were deleted in MLflow (mdr-002, mdr-003); restore: for run in" in problem(stores, past)
    client.restore_run(runs["mdr-003"])  # each run that the command restores costs a process
    client.delete_run(runs["sweep"])
    text = problem(stores, past)
    assert text.startswith(f"--resume letters: its run {runs['sweep']} was deleted in MLflow; restore it: for run in")
    with pytest.raises(UserError, match="all launches of the sweep letters were deleted in MLflow; restore the newest"):
        read_sweep(client, "letters")
    with pytest.raises(UserError, match=f"run {runs['sweep']} was deleted in MLflow; restore it: MLFLOW"):
        read_sweep(client, "letters", runs["sweep"])
    command = text.partition("restore it: ")[2]
    subprocess.run(command, shell=True, check=True)
    assert check_in_store(stores, "letters", past) == []
    assert runs_of(stores) == runs
    assert describe_deleted(client, read_sweep(client, "letters")) is None


def test_a_run_that_is_in_no_store_any_more(stores: Stores, tmp_path: Path) -> None:
    assert "is not in the MLflow store" in problem(stores, Past(parent_run_id="0" * 32))
    with pytest.raises(UserError, match=r"it has no experiment others\): name the store that has it"):
        check_in_store(stores, "others", Past(parent_run_id="0" * 32))
    gone = Stores(tmp_path, sqlite_url(tmp_path / "gone.db"))
    assert f"is not in the MLflow store {gone.tracking_uri} (there is no such file, or it is empty)" in problem(
        gone, Past(parent_run_id="0" * 32)
    )
    assert not (tmp_path / "gone.db").exists()


@pytest.mark.parametrize("lines", [None, "", '{"event": "ses', '{"event": "session", "time": 1.0}\n'])
def test_a_launch_that_lost_its_journal_does_not_begin_anew(stores: Stores, tmp_path: Path, lines: str | None) -> None:
    folder = tmp_path / "sweeps" / "letters" / "2026"
    folder.mkdir(parents=True)
    if lines is not None:
        (folder / JOURNAL).write_text(lines)
    assert check_in_store(stores, "letters", read_past(folder)) == []  # killed before its run was made
    client, runs = client_of(stores), runs_of(stores)
    client.set_tag(runs["sweep"], "mlflow.runName", "sweep 2026")
    client.delete_run(runs["mdr-002"])
    text = problem(stores, read_past(folder))
    assert text.startswith(f"--resume letters: {folder}/journal.jsonl ")
    assert ("is missing," if lines is None else "is empty," if "time" not in lines else "has no trial,") in text
    assert "there are 3 trials of this launch in MLflow: the launch has begun" in text
    (folder / STUDIES).touch()
    assert "in MLflow, and optuna.db beside it: the launch" in problem(stores, read_past(folder))
    gone = Stores(tmp_path, sqlite_url(tmp_path / "gone.db"))
    assert "there is optuna.db beside it: the launch has begun" in problem(gone, read_past(folder))
    for run_id in runs.values():
        client.delete_run(run_id)
    (folder / STUDIES).unlink()
    assert check_in_store(stores, "letters", read_past(folder)) == []


def test_a_journal_that_lacks_trials_of_mlflow_is_told(stores: Stores, tmp_path: Path) -> None:
    client, runs = client_of(stores), runs_of(stores)
    for name in ("mdr-001", "mdr-002"):
        client.set_tag(runs[name], TRIAL_TAG, name)
        client.set_terminated(runs[name])
    past = Past(parent_run_id=runs["sweep"], reports=[("mdr-001", 2, True), ("mdr-002", 1, False)], folder=tmp_path)
    (note,) = check_in_store(stores, "letters", past)
    assert note.startswith(f"{tmp_path / JOURNAL} has lost lines: of it, 1 trial came to the end in MLflow")
    assert "(mdr-002)" in note
    past.reports.append(("mdr-002", 2, True))
    assert check_in_store(stores, "letters", past) == []


def test_a_champion_that_was_deleted_is_told_before_it_is_registered_anew(stores: Stores) -> None:
    client, run_id = client_of(stores), runs_of(stores)["sweep"]
    assert check_in_store(stores, "letters", Past(parent_run_id=run_id)) == []
    (note,) = check_in_store(stores, "letters", Past(parent_run_id=run_id, finished=True))
    assert note.startswith(f"models:/letters@champion is not in {stores.tracking_uri} any more")
    client.create_registered_model("letters")
    client.create_model_version("letters", f"runs:/{run_id}/model")
    client.set_registered_model_alias("letters", "champion", "1")
    assert check_in_store(stores, "letters", Past(parent_run_id=run_id, finished=True)) == []


def test_an_extension_that_the_store_refuses_leaves_no_trace(stores: Stores, mlflow_globals_back: None) -> None:
    """The experiment is deleted after the plan was made."""
    client, runs = client_of(stores), runs_of(stores)
    past = Past(parent_run_id=runs["sweep"], sessions=1)
    lanes = LaneResources(1, 1, 1, 0, 8, 120.0, 600.0)
    plan = Plan(
        make_sweep(), Path("x.yaml"), "", (), stores, Machine(2, 0, "here"), lanes, None, "1", past, extend_by=1
    )
    client.delete_experiment(client.get_experiment_by_name("letters").experiment_id)
    with pytest.raises(UserError, match="'letters' was deleted"):
        run_on(plan, None, Witness(), "launch.py --resume letters --extend 1")
    assert read_past(plan.folder).extensions == []
    assert read_past(plan.folder).sessions == 1
