"""From Tune's callbacks to records and listeners, with stand-ins for Tune's trials."""

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.exceptions import RayTaskError
from ray.train._internal.checkpoint_manager import _CheckpointManager  # what a Trial keeps its checkpoints in
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint, CheckpointConfig

from mdr_tune.config.arms import Arm
from mdr_tune.config.trial import TrialConfig
from mdr_tune.lanes.messages import LaneEnded, TrialFailed
from mdr_tune.records import TrialRecord
from mdr_tune.sweep.events import TuneEvents

METRIC = "val/recall_at_1"
EPOCHS = 3


def tune_trial(trial_id: str, error: str | None = None, pickled_error: Path | None = None, keep: int | None = 1) -> Any:
    """What TuneEvents reads of a Ray Tune trial."""
    manager = _CheckpointManager(
        CheckpointConfig(num_to_keep=keep, checkpoint_score_attribute=METRIC, checkpoint_score_order="max")
    )
    return SimpleNamespace(
        trial_id=trial_id,
        config={"trial": {"epochs": EPOCHS}, "parameters": {"mdr.weight": 0.1}},
        run_metadata=SimpleNamespace(checkpoint_manager=manager),
        get_error=lambda: error,
        pickled_error_file=None if pickled_error is None else str(pickled_error),
    )


def pickled(folder: Path, cause: Exception) -> Path:
    """Write an actor's exception into a file, as Tune does."""
    file = folder / "error.pkl"
    file.write_bytes(cloudpickle.dumps(RayTaskError("train", "Traceback of the actor\nKeyError: in the actor", cause)))
    return file


class Listener:
    """Writes down what it hears, and what the record said at that moment."""

    def __init__(self, name: str, heard: list[tuple[Any, ...]]) -> None:
        self.name, self.heard = name, heard

    def trial_started(self, record: TrialRecord) -> None:
        self.heard.append((self.name, "started", record.name, record.outcome))

    def epoch_finished(self, record: TrialRecord) -> None:
        self.heard.append((self.name, "epoch", record.name, record.epochs))

    def trial_ended(self, record: TrialRecord) -> None:
        self.heard.append((self.name, "ended", record.name, record.outcome))


class Sweep:
    """TuneEvents of the arm `mdr`, with what comes out of it."""

    def __init__(self, listeners: int = 1) -> None:
        self.records: list[TrialRecord] = []
        self.heard: list[tuple[Any, ...]] = []
        self.released: list[str] = []
        names = "xyz"[:listeners]
        self.events = TuneEvents(
            Arm("mdr", TrialConfig(), {}, (), 4),
            self.records,
            [Listener(name, self.heard) for name in names],
            self._release,
        )

    def _release(self, trial_id: str) -> None:
        self.released.append(trial_id)
        self.heard.append(("lane", "released", trial_id))

    def start(self, trial: Any) -> None:
        self.events.on_trial_start(0, [trial], trial)

    def report(self, trial: Any, epoch: int, recall: float = 50.0, **more: Any) -> None:
        result = {"epoch": epoch, METRIC: recall, "training_iteration": epoch, "config": {}, "done": False, **more}
        self.events.on_trial_result(0, [trial], trial, result)

    def complete(self, trial: Any) -> None:
        self.events.on_trial_complete(0, [trial], trial)

    def fail(self, trial: Any) -> None:
        self.events.on_trial_error(0, [trial], trial)


def test_listeners_are_told_in_their_order_and_the_lane_is_free_before_they_hear_of_the_end() -> None:
    sweep, trial = Sweep(listeners=2), tune_trial("t1")
    sweep.start(trial)
    sweep.report(trial, 1)
    sweep.complete(trial)
    assert sweep.heard == [
        ("x", "started", "mdr-001", "running"),
        ("y", "started", "mdr-001", "running"),
        ("x", "epoch", "mdr-001", 1),
        ("y", "epoch", "mdr-001", 1),
        ("lane", "released", "t1"),
        ("x", "ended", "mdr-001", "stopped_early"),
        ("y", "ended", "mdr-001", "stopped_early"),
    ]


def test_a_record_is_made_of_tune_s_trial() -> None:
    sweep, trial = Sweep(), tune_trial("t1")
    sweep.start(trial)
    sweep.start(tune_trial("t2"))
    first, second = sweep.records
    assert (first.trial_id, first.name, first.arm) == ("t1", "mdr-001", "mdr")
    assert (first.config, first.parameters) == ({"epochs": EPOCHS}, {"mdr.weight": 0.1})
    assert (second.trial_id, second.name) == ("t2", "mdr-002")


def test_of_a_result_only_the_metrics_are_kept_as_numbers() -> None:
    sweep, trial = Sweep(), tune_trial("t1")
    sweep.start(trial)
    extra = {"train/loss": 1, "mdr/level_0": -3.0, "time/epoch_s": 0.5, "test/map_at_r": 2.0, "time_this_iter_s": 9.0}
    sweep.report(trial, 1, 50, **extra)
    kept = {"train/loss": 1.0, "mdr/level_0": -3.0, "time/epoch_s": 0.5, "test/map_at_r": 2.0}
    assert sweep.records[0].history == [{"epoch": 1.0, METRIC: 50.0, **kept}]
    assert all(isinstance(value, float) for value in sweep.records[0].history[0].values())


def test_epochs_that_a_trial_repeats_are_recorded_once() -> None:
    sweep, trial = Sweep(), tune_trial("t1")
    sweep.start(trial)
    for epoch, recall in [(1, 10.0), (2, 20.0), (1, 11.0), (2, 21.0), (3, 30.0)]:
        sweep.report(trial, epoch, recall)
    assert [(e["epoch"], e[METRIC]) for e in sweep.records[0].history] == [(1, 10.0), (2, 20.0), (3, 30.0)]
    assert [event[1] for event in sweep.heard].count("epoch") == 3


def test_a_trial_that_goes_on_after_a_pause_is_the_same_trial() -> None:
    sweep, trial = Sweep(), tune_trial("t1")
    sweep.start(trial)
    sweep.report(trial, 1)
    sweep.start(trial)
    assert len(sweep.records) == 1
    assert [event[1] for event in sweep.heard] == ["started", "epoch"]


@pytest.mark.parametrize(("epochs", "outcome"), [(EPOCHS, "completed"), (EPOCHS - 1, "stopped_early")])
def test_a_trial_is_complete_after_all_of_its_epochs(epochs: int, outcome: str) -> None:
    sweep, trial = Sweep(), tune_trial("t1")
    sweep.start(trial)
    for epoch in range(1, epochs + 1):
        sweep.report(trial, epoch)
    sweep.complete(trial)
    assert (sweep.records[0].outcome, sweep.records[0].error) == (outcome, None)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (TrialFailed("Traceback of the worker\nValueError: x"), "Traceback of the worker\nValueError: x"),
        (LaneEnded("the lane is gone"), "the lane is gone"),
    ],
)
def test_a_failed_trial_keeps_the_worker_s_traceback(tmp_path: Path, cause: Exception, expected: str) -> None:
    sweep, trial = Sweep(), tune_trial("t1", error="what Tune wrote", pickled_error=pickled(tmp_path, cause))
    sweep.start(trial)
    sweep.fail(trial)
    assert (sweep.records[0].outcome, sweep.records[0].error) == ("failed", expected)
    assert sweep.heard[-1] == ("x", "ended", "mdr-001", "failed")


def test_a_defect_of_the_trial_s_actor_is_told_with_the_actor_s_traceback(tmp_path: Path) -> None:
    sweep, trial = Sweep(), tune_trial("t1", error="what Tune wrote", pickled_error=pickled(tmp_path, KeyError("x")))
    sweep.start(trial)
    sweep.fail(trial)
    assert sweep.records[0].error is not None
    assert sweep.records[0].error.splitlines()[-1] == "KeyError: in the actor"


@pytest.mark.parametrize(
    ("cause", "why"), [(LaneEnded("all lanes are gone"), "all lanes are gone"), (KeyError(), None)]
)
def test_that_no_lane_is_left_is_noted(tmp_path: Path, cause: Exception, why: str | None) -> None:
    sweep, trial = Sweep(), tune_trial("t1", pickled_error=pickled(tmp_path, cause))
    sweep.start(trial)
    assert sweep.events.lanes_ended is None
    sweep.fail(trial)
    assert sweep.events.lanes_ended == why


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ("Failure # 1\nActorDied\n", "Failure # 1\nActorDied\n"),
        (None, "the trial ended without an exception being recorded"),
    ],
)
def test_without_a_pickled_error_there_is_what_tune_wrote(tmp_path: Path, kept: str | None, expected: str) -> None:
    for pickled_error in (None, tmp_path / "was never written"):
        sweep, trial = Sweep(), tune_trial("t1", error=kept, pickled_error=pickled_error)
        sweep.start(trial)
        sweep.fail(trial)
        assert (sweep.records[0].outcome, sweep.records[0].error) == ("failed", expected)


def test_what_still_runs_at_the_end_was_interrupted() -> None:
    sweep = Sweep()
    done, failed, running, _ = trials = [tune_trial(f"t{i}", error="x") for i in range(4)]
    for trial in (done, failed, running):
        sweep.start(trial)
    for epoch in range(1, EPOCHS + 1):
        sweep.report(done, epoch)
    sweep.complete(done)
    sweep.fail(failed)
    sweep.events.on_experiment_end(trials)
    assert [record.outcome for record in sweep.records] == ["completed", "failed", "killed"]
    assert sweep.released == ["t0", "t1", "t2"]  # each once; the pending one never started
    assert [event[1] for event in sweep.heard].count("ended") == 3


@pytest.mark.parametrize("end", [Sweep.complete, Sweep.fail])
def test_a_trial_that_ends_before_it_starts_is_told_whole(end: Callable[[Sweep, Any], None]) -> None:
    sweep, trial = Sweep(), tune_trial("t1")
    end(sweep, trial)
    assert [event[1] for event in sweep.heard] == ["started", "released", "ended"]
    assert sweep.released == ["t1"]


def save_epochs(trial: Any, folder: Path, recalls: list[float]) -> dict[int, str]:
    """Give the trial's manager a checkpoint for each epoch; returns their folders."""
    folders = {}
    for epoch, recall in enumerate(recalls, 1):
        path = folder / f"checkpoint_{epoch:06d}"
        path.mkdir()
        folders[epoch] = str(path)
        saved = _TrainingResult(Checkpoint.from_directory(str(path)), {"epoch": epoch, METRIC: recall})
        trial.run_metadata.checkpoint_manager.register_checkpoint(saved)
    return folders


@pytest.mark.parametrize(
    ("keep", "recalls", "kept"),
    [
        (1, [50.0, 60.0, 55.0], {2, 3}),  # the best and, for `checkpoints: last`, the latest
        (1, [50.0, 55.0, 60.0], {3}),
        (1, [60.0, 60.0, 55.0], {2, 3}),  # of equals the last one, as TrialRecord.best has it
        (1, [60.0, 50.0, 55.0], {1, 3}),
        (None, [50.0, 60.0, 55.0], {1, 2, 3}),
    ],
)
def test_the_checkpoints_that_ray_keeps_are_known_by_epoch(
    tmp_path: Path, keep: int | None, recalls: list[float], kept: set[int]
) -> None:
    sweep, trial = Sweep(), tune_trial("t1", keep=keep)
    sweep.start(trial)
    for epoch, recall in enumerate(recalls, 1):
        sweep.report(trial, epoch, recall)
    folders = save_epochs(trial, tmp_path, recalls)
    sweep.complete(trial)
    record = sweep.records[0]
    assert record.checkpoints == {epoch: folders[epoch] for epoch in kept}
    assert all(Path(folder).is_dir() for folder in record.checkpoints.values())
    best = record.best(METRIC)
    assert best is not None
    assert best[1] in record.checkpoints


def test_tune_can_pickle_it_whatever_the_listeners_hold() -> None:
    sweep = Sweep()
    sweep.events._listeners = [threading.Lock()]  # type: ignore[list-item]
    assert isinstance(pickle.loads(pickle.dumps(sweep.events)), TuneEvents)
