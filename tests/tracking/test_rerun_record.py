"""What a rerun reads from MLflow, and writes, with a real sqlite store."""

import math
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.metrics import EPOCHS_KEY
from mdr_tune.records.provenance import repeat_info
from mdr_tune.records.trial_record import Change, TrialRecord
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.rerun_record import REPEAT_FILE, Original, RerunRun, read_original
from mdr_tune.tracking.tracker import Tracker
from mdr_tune.util.errors import UserError

METRIC = "val/recall_at_1"
CONFIG = TrialConfig(epochs=3).model_dump()


def record(name: str) -> TrialRecord:
    return TrialRecord(name, "mdr", 0, {}, CONFIG, device="cpu")


def tell(tracker: Tracker, trial: TrialRecord, epochs: int = 2) -> None:
    tracker.trial_started(trial)
    for epoch in range(1, epochs + 1):
        metrics = {METRIC: 50.0 + epoch, "train/loss": 1 / 3 / epoch, "mdr/std": 1.0, "time/epoch_s": 2.0}
        trial.history.append({"epoch": float(epoch), **metrics})
        tracker.epoch_finished(trial)
    trial.outcome = "stopped_early"
    tracker.trial_ended(trial)


@pytest.fixture(scope="module")
def recorded(client: MlflowClient, store: str) -> dict[str, str]:
    """Run ids of trials as the tracker records them, by name, and of their parent."""
    root = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts"
    tracker = Tracker(
        client,
        open_experiment(client, "reruns", root),
        run_name="sweep 1",
        metric=METRIC,
        params={"images": {"content": "abc"}},
        files={},
        checkpoints="best",
        repeat=lambda trial: repeat_info(trial.config, 2, 1, "launch.py"),
    )
    whole, changed, empty = record("mdr-001"), record("mdr-002"), record("mdr-003")
    tell(tracker, whole)
    tracker.test_scored(whole, {"test/recall_at_1": 40.0})
    tell(tracker, changed)
    changed.changes.append(Change(1, "mdr-001", {"mdr.weight": 0.2}))
    tracker.trial_noted(changed)
    tell(tracker, empty, epochs=0)
    tracker.flush()
    ids = {trial.name: tracker.run_id(trial) for trial in (whole, changed, empty)}
    tracker.close("FINISHED")
    return {**ids, "parent": tracker.parent_run_id, "experiment": tracker.experiment_id}


def test_the_original_is_what_the_trial_measured_and_what_repeats_it(client: Any, recorded: dict[str, str]) -> None:
    original = read_original(client, recorded["mdr-001"], "the store")
    assert original.name == "mdr-001"
    assert original.history == [
        {"epoch": 1.0, METRIC: 51.0, "train/loss": 1 / 3, "mdr/std": 1.0},
        {"epoch": 2.0, METRIC: 52.0, "train/loss": 1 / 6, "mdr/std": 1.0},
    ]
    assert original.epochs == 2
    assert original.repeat == repeat_info(CONFIG, 2, 1, "launch.py")
    assert (original.device, original.image_content) == ("cpu", "abc")


def test_an_original_whose_launch_is_gone_is_read_all_the_same(client: Any, recorded: dict[str, str]) -> None:
    run = client.create_run(recorded["experiment"], tags={MLFLOW_PARENT_RUN_ID: "0" * 32, MLFLOW_RUN_NAME: "mdr-001"})
    repeat = client.download_artifacts(recorded["mdr-001"], REPEAT_FILE)
    client.log_artifact(run.info.run_id, repeat)
    client.log_metric(run.info.run_id, METRIC, 51.0, step=1)
    client.log_metric(run.info.run_id, EPOCHS_KEY, 1, step=1)
    assert read_original(client, run.info.run_id, "the store").image_content is None


def refusal(client: MlflowClient, run_id: str) -> str:
    with pytest.raises(UserError) as caught:
        read_original(client, run_id, "sqlite:////runs/mlflow.db")
    return str(caught.value)


@pytest.mark.parametrize("run_id", ["0" * 32, "not an id/"])
def test_an_unknown_run_is_refused(client: MlflowClient, recorded: dict[str, str], run_id: str) -> None:
    text = refusal(client, run_id)
    assert text.startswith(f"{run_id}: there is no such run in sqlite:////runs/mlflow.db")
    assert "--tracking-uri" in text


def test_of_a_whole_sweep_the_trials_are_named(client: MlflowClient, recorded: dict[str, str]) -> None:
    text = refusal(client, recorded["parent"])
    assert f"Give one of its trials: mdr-001 {recorded['mdr-001']}, mdr-002 {recorded['mdr-002']}" in text


def test_a_foreign_run_is_refused(client: MlflowClient, recorded: dict[str, str]) -> None:
    run_id = client.create_run(recorded["experiment"]).info.run_id
    assert refusal(client, run_id) == f"{run_id}: is not the run of a trial"


def test_a_trial_that_took_over_anothers_state_is_refused_with_the_reason(
    client: MlflowClient, recorded: dict[str, str]
) -> None:
    text = refusal(client, recorded["mdr-002"])
    assert "population based training changed mdr-002 on its way (epoch 1 from mdr-001)" in text


def test_without_an_epoch_there_is_nothing_to_compare(client: MlflowClient, recorded: dict[str, str]) -> None:
    assert "mdr-003 recorded no epoch" in refusal(client, recorded["mdr-003"])


def test_without_the_artifact_it_is_not_known_what_ran(
    client: MlflowClient, store: str, recorded: dict[str, str]
) -> None:
    root = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts"
    tracker = Tracker(client, open_experiment(client, "older", root), "sweep", METRIC, {}, {}, "best")
    old = record("mdr-001")
    tell(tracker, old)
    tracker.flush()
    assert "has no artifact repeat.json" in refusal(client, tracker.run_id(old))
    tracker.close("FINISHED")


def original_of(recorded: dict[str, str]) -> Original:
    return Original(recorded["mdr-001"], recorded["experiment"], "mdr-001", {}, [], "cpu", None)


def test_a_rerun_is_a_run_of_its_own_below_no_sweep(client: MlflowClient, recorded: dict[str, str]) -> None:
    repeat = {**repeat_info(CONFIG, 2, 1, "mdr-tune rerun"), "device": "cpu"}
    with RerunRun(client, original_of(recorded), TrialConfig(epochs=3), repeat) as rerun:
        rerun.log_epoch({"epoch": 1.0, METRIC: 51.0, "train/loss": math.nan})
        rerun.log_epoch({"epoch": 2.0, METRIC: 52.0, "time/epoch_s": 1.0})
        rerun.log_comparison(True, "Equal to the bit")
    run = client.get_run(rerun.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "rerun of mdr-001")
    assert run.data.tags["rerun_of"] == recorded["mdr-001"]
    assert run.data.tags["rerun_equal"] == "true"
    assert "mlflow.parentRunId" not in run.data.tags
    assert run.data.params["epochs"] == "3"
    assert [(p.step, p.value) for p in client.get_metric_history(rerun.run_id, METRIC)] == [(1, 51.0), (2, 52.0)]
    assert "train/loss" not in run.data.metrics
    assert "repeat.json" in [entry.path for entry in client.list_artifacts(rerun.run_id)]
    assert f"is a rerun itself, of {recorded['mdr-001']}" in refusal(client, rerun.run_id)


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")])
def test_a_rerun_that_does_not_end_is_closed_too(
    client: MlflowClient, recorded: dict[str, str], error: type[BaseException], status: str
) -> None:
    rerun = RerunRun(client, original_of(recorded), TrialConfig(), {})
    with pytest.raises(error), rerun:
        raise error
    assert client.get_run(rerun.run_id).info.status == status


def test_a_rerun_whose_trial_failed_is_failed(client: MlflowClient, recorded: dict[str, str]) -> None:
    with RerunRun(client, original_of(recorded), TrialConfig(), {}) as rerun:
        pass
    assert client.get_run(rerun.run_id).info.status == "FAILED"
