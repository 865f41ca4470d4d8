"""Whatever interrupts the writes, a trial has one run in the end, and each epoch is in it once."""

import contextlib
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from mdr_tune.records.distance_snapshot import DistanceSnapshot
from mdr_tune.records.trial_record import Change, TrialRecord
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.tracker import Tracker
from mdr_tune.tracking.writer import OrderedWriter, TrackingLost
from tests.tracking.stored import METRIC, Counting, add_epoch, checkpoint, make_trial, splits, stored

_NUMBERS = itertools.count()
DISTANCES = [DistanceSnapshot(epoch, [epoch], [2 * epoch], [-3.0, 3.0], [0.25, 0.75]) for epoch in (1, 2, 3)]
MAX_WRITES = 40
"""More than the script below has."""


@pytest.fixture
def experiment(client: MlflowClient, artifact_root: Path) -> str:
    return open_experiment(client, f"resume-{next(_NUMBERS)}", artifact_root)


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdr_tune.tracking.writer.FIRST_RETRY_S", 0.001)
    monkeypatch.setattr("mdr_tune.tracking.writer.LONGEST_RETRY_S", 0.01)


def open_tracker(client: Any, experiment: str, **changes: Any) -> Tracker:
    arguments = {"run_name": "x", "metric": METRIC, "params": {"metric": METRIC}, "files": {}, "checkpoints": "best"}
    repeat: Callable[[TrialRecord], dict[str, Any]] = lambda record: {"config": record.config}  # noqa: E731
    said = {"splits": splits, "describe": lambda record, test: record.outcome, "view": lambda run_id: "{}"}
    return Tracker(client, experiment, **{**arguments, "repeat": repeat, **said, **changes})


def first_part(tracker: Tracker, folder: Path) -> list[TrialRecord]:
    """One trial that ends, one that is interrupted after its second epoch."""
    done, cut = make_trial("mdr-001"), make_trial("mdr-002", weight=0.2)
    for record, recalls in ((done, [50.0, 62.5, 60.0]), (cut, [40.0, 45.0])):
        record.device = "cpu"
        tracker.trial_started(record)
        for recall in recalls:
            add_epoch(record, recall)
            checkpoint(record, folder)
            tracker.epoch_finished(record)
        record.distances = DISTANCES[: len(recalls)]
    done.outcome = "completed"
    tracker.trial_ended(done)
    return [done, cut]


def second_part(tracker: Tracker, records: list[TrialRecord], folder: Path) -> None:
    """The interrupted trial goes on to its end."""
    _, cut = records
    add_epoch(cut, 48.0)
    checkpoint(cut, folder)
    cut.distances = DISTANCES
    tracker.epoch_finished(cut)
    cut.outcome = "completed"
    tracker.trial_ended(cut)
    tracker.close("FINISHED")


@pytest.fixture
def undisturbed(client: MlflowClient, experiment: str, tmp_path: Path) -> dict[str, Any]:
    tracker = open_tracker(client, experiment)
    second_part(tracker, first_part(tracker, tmp_path), tmp_path)
    return stored(client, experiment, tracker.parent_run_id)


def test_the_undisturbed_launch(undisturbed: dict[str, Any]) -> None:
    (second,) = undisturbed["trials"]["mdr-002"]
    digest = "0123456789abcdef"
    used = {"glyphs training": (digest, "training"), "glyphs validation": (digest, "validation")}
    assert (undisturbed["parent"]["inputs"], second["inputs"]) == (used, used)
    assert second["model"]["metrics"] == [(METRIC, 3, 48.0, "glyphs validation")]
    assert (second["model"]["name"], second["tags"]["mlflow.note.content"]) == ("mdr-002", "completed")
    assert second["metrics"][METRIC] == [(1, 40.0), (2, 45.0), (3, 48.0)]
    assert second["files"] == ["checkpoints/best/checkpoint.pt", "distances.json", "repeat.json"]
    assert (second["status"], second["tags"]["mdr_tune.complete"], second["tags"]["device"]) == ("FINISHED", "3", "cpu")
    assert undisturbed["parent"]["metrics"]["val/best_recall_at_1"] == [(1, 62.5), (2, 62.5)]


@pytest.mark.parametrize("survives", range(3, MAX_WRITES, 3))
def test_a_driver_that_is_killed_after_any_write(
    client: MlflowClient, experiment: str, undisturbed: dict[str, Any], tmp_path: Path, survives: int
) -> None:
    def stop(number: int) -> None:
        if number > survives:
            raise RuntimeError("the process is gone")

    mortal = Counting(client, before=stop)
    tracker = open_tracker(mortal, experiment)
    tracker._writer = OrderedWriter(give_up_after_s=0.0)
    records = first_part(tracker, tmp_path)
    with contextlib.suppress(TrackingLost):
        tracker.flush()
    resumed = open_tracker(client, experiment, parent_run_id=tracker.parent_run_id)
    resumed.catch_up(records)
    resumed.trial_started(records[1])
    second_part(resumed, records, tmp_path)
    assert stored(client, experiment, tracker.parent_run_id) == undisturbed


@pytest.mark.parametrize("seed", range(3))
def test_answers_that_are_lost_do_not_write_twice(
    client: MlflowClient, experiment: str, undisturbed: dict[str, Any], tmp_path: Path, seed: int
) -> None:
    failed: list[int] = []
    chance = random.Random(seed)

    def lose(number: int) -> None:
        if number == 4 or (number > 4 and chance.random() < 0.3):  # the first is the making of a trial's run
            failed.append(number)
            raise ConnectionError("the answer was lost")

    tracker = open_tracker(Counting(client, after=lose), experiment)
    second_part(tracker, first_part(tracker, tmp_path), tmp_path)
    assert len(failed) >= 3
    assert stored(client, experiment, tracker.parent_run_id) == undisturbed


def test_writes_that_were_given_up_are_made_up_for_when_the_trial_ends(
    client: MlflowClient, experiment: str, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    def refuse(number: int) -> None:
        if number in (5, 6, 7, 8):
            raise ConnectionError("refused")

    tracker = open_tracker(Counting(client, before=refuse), experiment)
    tracker._writer = OrderedWriter(give_up_after_s=0.0)
    second_part(tracker, first_part(tracker, tmp_path), tmp_path)  # and nothing is said to be lost
    assert stored(client, experiment, tracker.parent_run_id) == undisturbed


def test_catching_up_after_a_loss_at_the_end(
    client: MlflowClient, experiment: str, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    is_gone = False

    def refuse(number: int) -> None:
        if is_gone:
            raise ConnectionError("refused")

    tracker = open_tracker(Counting(client, before=refuse), experiment)
    tracker._writer = OrderedWriter(give_up_after_s=0.0)
    records = first_part(tracker, tmp_path)
    tracker.flush()
    is_gone = True
    add_epoch(records[1], 48.0)
    checkpoint(records[1], tmp_path)
    tracker.epoch_finished(records[1])
    records[1].outcome = "completed"
    tracker.trial_ended(records[1])
    with pytest.raises(TrackingLost, match=r"epoch 3 of mdr-002.*the end of mdr-002"):
        tracker.flush()
    is_gone = False
    tracker.catch_up(records)
    tracker.close("FINISHED")
    assert stored(client, experiment, tracker.parent_run_id) == undisturbed


def test_complete_trials_cost_no_call(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    tracker = open_tracker(client, experiment)
    records = first_part(tracker, tmp_path)
    second_part(tracker, records, tmp_path)
    before = stored(client, experiment, tracker.parent_run_id)
    counting = Counting(client)
    resumed = open_tracker(counting, experiment, parent_run_id=tracker.parent_run_id)
    calls = counting.calls
    resumed.catch_up(records)
    resumed.flush()
    assert calls == 5  # the parent is reopened, it, its best values and the trials' runs are read, the view is set
    assert counting.calls == calls
    assert client.get_run(tracker.parent_run_id).info.status == "RUNNING"
    resumed.close("FINISHED")
    assert stored(client, experiment, tracker.parent_run_id) == before


def test_a_killed_trial_is_running_again_and_goes_on_in_its_run(
    client: MlflowClient, experiment: str, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    tracker = open_tracker(client, experiment)
    records = first_part(tracker, tmp_path)
    records[1].outcome = "killed"
    tracker.trial_ended(records[1])
    tracker.close("KILLED")
    resumed = open_tracker(client, experiment, parent_run_id=tracker.parent_run_id)
    resumed.catch_up(records[:1])
    records[1].outcome = "running"
    resumed.trial_started(records[1])
    resumed.flush()
    run = client.get_run(resumed.run_id(records[1]))
    assert (run.info.status, run.data.tags["outcome"]) == ("RUNNING", "running")
    second_part(resumed, records, tmp_path)
    assert stored(client, experiment, tracker.parent_run_id) == undisturbed


def test_what_population_based_training_changed_is_found_missing(
    client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    tracker, record = open_tracker(client, experiment), make_trial("mdr-001", weight=0.1)
    tracker.trial_started(record)
    add_epoch(record, 50.0)
    tracker.epoch_finished(record)
    tracker.flush()
    record.changes.append(Change(1, "mdr-002", {"mdr.weight": 0.12}))  # told to nobody: killed
    resumed = open_tracker(client, experiment, parent_run_id=tracker.parent_run_id)
    resumed.trial_started(record)
    add_epoch(record, 51.0)
    resumed.epoch_finished(record)
    resumed.trial_noted(record)
    resumed.flush()
    (found,) = stored(client, experiment, tracker.parent_run_id)["trials"]["mdr-001"]
    assert found["metrics"]["pbt/mdr.weight"] == [(1, 0.1), (2, 0.12)]
    assert found["tags"]["pbt.exploited"] == "epoch 1 from mdr-002"
