"""A sweep as it is read back, against what was told to the tracker."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from mdr_tune.records.trial_record import Change, TrialRecord
from mdr_tune.tracking.experiment import child_runs, open_experiment
from mdr_tune.tracking.reader import read_sweep
from mdr_tune.tracking.tracker import Tracker
from mdr_tune.util.errors import UserError
from tests.tracking.stored import METRIC, add_epoch, make_trial


def open_tracker(client: MlflowClient, name: str, root: Path, **changes: Any) -> Tracker:
    experiment = open_experiment(client, name, root)
    arguments = {"run_name": "x", "metric": METRIC, "params": {}, "files": {}, "checkpoints": "best"}
    return Tracker(client, experiment, **{**arguments, **changes})


def tell(tracker: Tracker, record: TrialRecord, recalls: list[float]) -> None:
    tracker.trial_started(record)
    for recall in recalls:
        add_epoch(record, recall)
        tracker.epoch_finished(record)


def test_what_was_told_comes_back_while_the_sweep_runs(client: MlflowClient, artifact_root: Path) -> None:
    tracker = open_tracker(client, "read_back", artifact_root, second_metric="time/images_per_s")
    done, running = make_trial("mdr-001"), make_trial("mdr-002.2", seed_index=1, device="cpu")
    running.parameters = {"mdr.levels": [-3.0, 0.0, 3.0], "loss": {"name": "triplet"}, "mdr.weight": 0.25, "x": None}
    running.notes, running.changes = ["one", "two"], [Change(1, "mdr-001", {"mdr.weight": 0.3})]
    tell(tracker, done, [50.0, 60.0, 55.0])
    done.outcome = "completed"
    tracker.trial_ended(done)
    tell(tracker, running, [40.0, 45.0])
    tracker.trial_noted(running)
    tracker.flush()
    found = read_sweep(client, "read_back", with_histories=True)
    assert (found.status, found.metric, found.second_metric) == ("RUNNING", METRIC, "time/images_per_s")
    assert found.parent_run_id == tracker.parent_run_id
    first, second = found.trials
    assert [trial.record.name for trial in found.trials] == ["mdr-001", "mdr-002.2"]
    assert first.record.outcome == "completed"
    assert first.record.best(METRIC) == (60.0, 2)
    assert first.record.objectives(found.metrics) == done.objectives(found.metrics) == [60.0, 200.0]
    assert first.metrics["objective/images_per_s"] == 200.0
    assert (second.record.outcome, second.record.seed_index, second.record.config_name) == ("running", 1, "mdr-002")
    assert second.record.parameters == running.parameters
    assert second.record.config["epochs"] == 3
    assert second.record.config["mdr"]["levels"] == [-3.0, 0.0, 3.0]
    assert (second.record.notes, second.record.device, second.epochs) == (["one", "two"], "cpu", 2)
    assert [(change.epoch, change.source) for change in second.record.changes] == [(1, "mdr-001")]
    assert read_sweep(client, "read_back").trials[0].record.history == []
    tracker.close("FINISHED")


def test_the_newest_launch_or_a_given_one(client: MlflowClient, artifact_root: Path) -> None:
    trackers = [open_tracker(client, "two_launches", artifact_root) for _ in range(2)]
    for tracker, name in zip(trackers, ["mdr-001", "mdr-002"], strict=True):
        tracker.trial_started(make_trial(name))
        tracker.close("FINISHED")
    client.create_run(trackers[0].experiment_id, tags={"mlflow.runName": "import model.pt"})
    names = [record.name for record in read_sweep(client, "two_launches").records]
    given = [record.name for record in read_sweep(client, "two_launches", trackers[0].parent_run_id).records]
    assert (names, given) == (["mdr-002"], ["mdr-001"])


def test_what_is_no_sweep_is_an_error_that_names_those_there_are(client: MlflowClient, artifact_root: Path) -> None:
    open_tracker(client, "cub_levels", artifact_root).close("FINISHED")
    empty = open_experiment(client, "no_launch", artifact_root)
    with pytest.raises(UserError, match=r"no sweep 'cub_level'.*Did you mean 'cub_levels'\? Known: .*cub_levels"):
        read_sweep(client, "cub_level")
    with pytest.raises(UserError, match=r"no sweep 'cub_levels\\udce9'.*Did you mean 'cub_levels'"):
        read_sweep(client, "cub_levels\udce9")
    with pytest.raises(UserError, match="no_launch holds no launch of a sweep"):
        read_sweep(client, "no_launch")
    stranger = client.create_run(empty).info.run_id
    with pytest.raises(UserError, match=f"run {stranger} is not a launch of the sweep cub_levels"):
        read_sweep(client, "cub_levels", stranger)


def test_more_trials_than_a_page_holds(
    client: MlflowClient, artifact_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdr_tune.tracking.experiment.RUNS_A_PAGE", 3)
    tracker = open_tracker(client, "pages", artifact_root)
    for number in range(7):
        tracker.trial_started(make_trial(f"mdr-{number:03d}"))
    tracker.flush()
    found = [run.info.run_name for run in child_runs(client, tracker.experiment_id, tracker.parent_run_id)]
    assert sorted(found) == [f"mdr-{number:03d}" for number in range(7)]
    tracker.close("FINISHED")
