"""From Tune's callbacks to the ledger, with stand-ins for Tune's trials."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.exceptions import RayTaskError
from ray.tune import Checkpoint
from ray.tune.experiment import Trial

from mdr_tune.checkpoints.checkpoint_file import CheckpointInfo, Origin, write_checkpoint
from mdr_tune.records.journal import Journal
from mdr_tune.records.metrics import UnknownMetricError
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.search.ledger import Ledger
from mdr_tune.sweep.events import TuneEvents
from tests.sweep.make import METRIC, Heard, make_arm, make_record

EPOCHS = 3


def tune_trial(name: str, error: str | None = None, pickled_error: Path | None = None) -> Any:
    """What TuneEvents reads of a Ray Tune trial."""
    return SimpleNamespace(
        trial_id=name,
        status="RUNNING",
        config={"trial": {"epochs": EPOCHS, "seed": 0}, "parameters": {"mdr.weight": 0.1}},
        get_error=lambda: error,
        pickled_error_file=None if pickled_error is None else str(pickled_error),
        run_metadata=Trial("any", stub=True).run_metadata,
    )


def pickled(folder: Path, cause: Exception) -> Path:
    """Write an actor's exception into a file, as Tune does."""
    file = folder / "error.pkl"
    file.write_bytes(cloudpickle.dumps(RayTaskError("train", "Traceback of the actor\nKeyError: in the actor", cause)))
    return file


class Sweep:
    """TuneEvents of the arm `mdr`, with what comes out of it."""

    def __init__(self, journal: Journal, *past: TrialRecord, keeps_for_others: bool = False, trials: int = 4) -> None:
        self.heard = Heard()
        self.ledger = Ledger(journal, [METRIC], 1, False, [self.heard], list(past))
        self.again: set[str] = set()
        self.events = TuneEvents(
            make_arm(trials), self.ledger, self.heard.released, self.again.__contains__, keeps_for_others
        )

    def start(self, trial: Any) -> None:
        self.events.on_trial_start(0, [trial], trial)

    def report(self, trial: Any, epoch: int, recall: float = 50.0, **more: Any) -> None:
        result = {"epoch": epoch, METRIC: recall, "training_iteration": epoch, "config": {}, "done": False, **more}
        self.events.on_trial_result(0, [trial], trial, result)

    def fail_itself(self, trial: Any, kind: str, text: str) -> None:
        result = {"epoch": 1, "done": True, "failure": {"kind": kind, "text": text}}
        self.events.on_trial_result(0, [trial], trial, result)
        self.complete(trial)

    def complete(self, trial: Any) -> None:
        self.events.on_trial_complete(0, [trial], trial)

    def fail(self, trial: Any) -> None:
        self.events.on_trial_error(0, [trial], trial)

    def save(self, trial: Any, folder: Path, epoch: int, **more: Any) -> Path:
        saved = folder / trial.trial_id / f"checkpoint_{epoch:06d}"
        saved.mkdir(parents=True)
        info = CheckpointInfo(trial.trial_id, epoch, trial.config["trial"], **more)
        write_checkpoint(saved, b"state", info)
        self.events.on_checkpoint(0, [trial], trial, Checkpoint.from_directory(str(saved)))
        return saved

    @property
    def records(self) -> list[TrialRecord]:
        return self.ledger.records


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "launch", print)
    yield opened
    opened.close()


@pytest.fixture
def sweep(journal: Journal) -> Sweep:
    return Sweep(journal)


def test_the_lane_is_free_before_the_listeners_hear_of_the_end(sweep: Sweep) -> None:
    trial = tune_trial("mdr-001")
    sweep.start(trial)
    sweep.report(trial, 1)
    sweep.complete(trial)
    assert [event for event, *_ in sweep.heard.events] == [
        "trial_started",
        "epoch_finished",
        "released",
        "trial_ended",
    ]


def test_a_record_is_made_of_tune_s_trial(sweep: Sweep) -> None:
    sweep.start(tune_trial("mdr-001"))
    sweep.start(tune_trial("mdr-012.3"))
    first, seed = sweep.records
    assert (first.name, first.arm, first.number, first.seed_index) == ("mdr-001", "mdr", 0, 0)
    assert (first.config["epochs"], first.parameters) == (EPOCHS, {"mdr.weight": 0.1})
    assert (seed.number, seed.seed_index, seed.config_name) == (11, 2, "mdr-012")


def test_of_a_result_only_the_metrics_are_kept_as_numbers(sweep: Sweep) -> None:
    trial = tune_trial("mdr-001")
    sweep.start(trial)
    extra = {"train/loss": 1, "mdr/level_0": -3.0, "time/epoch_s": 0.5, "memory/peak_gib": 2.0, "time_this_iter_s": 9.0}
    sweep.report(trial, 1, 50, device="cpu", **extra)
    kept = {"train/loss": 1.0, "mdr/level_0": -3.0, "time/epoch_s": 0.5, "memory/peak_gib": 2.0}
    assert sweep.records[0].history == [{"epoch": 1.0, METRIC: 50.0, **kept}]
    assert all(isinstance(value, float) for value in sweep.records[0].history[0].values())
    assert sweep.records[0].device == "cpu"


def test_a_metric_without_a_line_in_the_table_is_no_silent_loss(sweep: Sweep) -> None:
    trial = tune_trial("mdr-001")
    sweep.start(trial)
    with pytest.raises(UnknownMetricError, match="unknown metric 'noise/level': add a line"):
        sweep.report(trial, 1, **{"noise/level": 0.5})


def test_epochs_that_a_trial_repeats_are_recorded_once(sweep: Sweep) -> None:
    trial = tune_trial("mdr-001")
    sweep.start(trial)
    for epoch, recall in [(1, 10.0), (2, 20.0), (1, 11.0), (2, 21.0), (3, 30.0)]:
        sweep.report(trial, epoch, recall)
    assert [(e["epoch"], e[METRIC]) for e in sweep.records[0].history] == [(1, 10.0), (2, 20.0), (3, 30.0)]


def test_a_trial_that_goes_on_after_a_pause_is_the_same_trial(sweep: Sweep) -> None:
    trial = tune_trial("mdr-001")
    sweep.start(trial)
    sweep.report(trial, 1)
    trial.status = "PAUSED"
    for _ in range(2):
        sweep.events.on_step_end(0, [trial])
    assert sweep.heard.events[2:] == [("released", "mdr-001")]
    trial.status = "RUNNING"
    sweep.start(trial)
    trial.status = "PAUSED"
    sweep.events.on_step_end(0, [trial])
    assert sweep.heard.events[3:] == [("released", "mdr-001")]
    assert len(sweep.records) == 1


def test_a_trial_of_an_earlier_session_goes_on(journal: Journal) -> None:
    left, done = make_record(0, 50.0, outcome="killed"), make_record(1, 60.0, outcome="completed")
    sweep = Sweep(journal, left, done)
    for name in ("mdr-001", "mdr-002"):  # of a synchronous search, those that ended go through Tune again
        sweep.start(tune_trial(name))
    assert sweep.heard.events == [("trial_started", "mdr-001")]
    assert left.outcome == "running"
    sweep.complete(tune_trial("mdr-002"))
    assert sweep.heard.events[1:] == [("released", "mdr-002")]


@pytest.mark.parametrize(("epochs", "outcome"), [(EPOCHS, "completed"), (EPOCHS - 1, "stopped_early")])
def test_a_trial_is_complete_after_all_of_its_epochs(sweep: Sweep, epochs: int, outcome: str) -> None:
    trial = tune_trial("mdr-001")
    sweep.start(trial)
    for epoch in range(1, epochs + 1):
        sweep.report(trial, epoch)
    sweep.complete(trial)
    assert (sweep.records[0].outcome, sweep.records[0].error) == (outcome, None)


@pytest.mark.parametrize("kind", ["failed", "diverged"])
def test_a_trial_s_own_failure_is_a_result(sweep: Sweep, kind: str) -> None:
    trial = tune_trial("mdr-001")
    sweep.start(trial)
    sweep.report(trial, 1, 99.0)
    sweep.fail_itself(trial, kind, "why")
    assert (sweep.records[0].outcome, sweep.records[0].error, sweep.records[0].epochs) == (kind, "why", 1)
    assert (sweep.records[0].best(METRIC) is None) == (kind == "diverged")


def test_that_no_lane_is_left_is_nobody_s_fault(sweep: Sweep) -> None:
    trial = tune_trial("mdr-001")
    sweep.start(trial)
    assert sweep.events.lanes_ended is None
    sweep.fail_itself(trial, "lanes_ended", "all lanes are gone")
    assert sweep.events.lanes_ended == "all lanes are gone"
    assert (sweep.records[0].outcome, sweep.records[0].ended) == ("killed", False)


def test_what_happened_to_it_again_and_again_is_told_with_its_traceback(sweep: Sweep, tmp_path: Path) -> None:
    trial = tune_trial("mdr-001", error="what Tune wrote", pickled_error=pickled(tmp_path, OSError("x")))
    sweep.start(trial)
    sweep.events.on_trial_recover(0, [trial], trial)
    sweep.fail(trial)
    record = sweep.records[0]
    assert record.outcome == "failed"
    assert record.error is not None
    assert record.error.splitlines()[-1] == "KeyError: in the actor"
    assert len(record.notes) == 1
    assert record.notes[0].startswith("its process was lost (")


def test_a_trial_that_is_handed_out_once_more_has_not_ended(sweep: Sweep) -> None:
    trial = tune_trial("mdr-001", error="the actor died")
    sweep.start(trial)
    sweep.report(trial, 1)
    sweep.again.add("mdr-001")
    sweep.fail(trial)
    assert (sweep.records[0].outcome, len(sweep.records[0].notes)) == ("running", 1)
    assert sweep.heard.events[-1] == ("released", "mdr-001")


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ("Failure # 1\nActorDied\n", "Failure # 1\nActorDied\n"),
        (None, "the trial ended without an exception being recorded"),
    ],
)
def test_without_a_pickled_error_there_is_what_tune_wrote(
    sweep: Sweep, tmp_path: Path, kept: str | None, expected: str
) -> None:
    for number, pickled_error in enumerate((None, tmp_path / "was never written"), 1):
        trial = tune_trial(f"mdr-00{number}", error=kept, pickled_error=pickled_error)
        sweep.start(trial)
        sweep.fail(trial)
        assert (sweep.records[-1].outcome, sweep.records[-1].error) == ("failed", expected)


def test_notes_are_kept(sweep: Sweep) -> None:
    trial = tune_trial("mdr-001")
    sweep.start(trial)
    sweep.report(trial, 1, notes=["the checkpoint of epoch 5 is damaged"])
    assert sweep.records[0].notes == ["the checkpoint of epoch 5 is damaged"]
    assert ("trial_noted", "mdr-001") in sweep.heard.events


def test_what_still_runs_at_the_end_was_interrupted(sweep: Sweep) -> None:
    done, failed, running, _ = trials = [tune_trial(f"mdr-00{i}", error="x") for i in range(1, 5)]
    for trial in (done, failed, running):
        sweep.start(trial)
    for epoch in range(1, EPOCHS + 1):
        sweep.report(done, epoch)
    sweep.complete(done)
    sweep.fail(failed)
    sweep.events.on_experiment_end(trials)
    assert [record.outcome for record in sweep.records] == ["completed", "failed", "killed"]
    released = [name for event, name in sweep.heard.events if event == "released"]
    assert released == ["mdr-001", "mdr-002", "mdr-003"]  # each once; the pending one never started


def test_checkpoints_are_known_by_the_epoch_that_is_written_in_them(sweep: Sweep, tmp_path: Path) -> None:
    trial = tune_trial("mdr-001")
    sweep.start(trial)
    folders = {}
    for epoch, recall in enumerate((60.0, 50.0, 51.0, 52.0), 1):
        sweep.report(trial, epoch, recall)
        folders[epoch] = sweep.save(trial, tmp_path, epoch)
    assert sweep.records[0].checkpoints == {epoch: str(folders[epoch]) for epoch in (1, 3, 4)}
    assert [folder.exists() for folder in folders.values()] == [True, False, True, True]


def test_a_trial_that_goes_through_tune_again_writes_no_new_checkpoint(journal: Journal, tmp_path: Path) -> None:
    past = make_record(0, 50.0, outcome="killed", checkpoints={1: "old"})
    sweep, trial = Sweep(journal, past), tune_trial("mdr-001")
    sweep.start(trial)
    sweep.save(trial, tmp_path, 1, origin=Origin())
    assert past.checkpoints == {1: "old"}


def test_what_others_may_take_over_is_kept(journal: Journal, tmp_path: Path) -> None:
    sweep = Sweep(journal, keeps_for_others=True, trials=2)
    first, second = tune_trial("mdr-001"), tune_trial("mdr-002")
    sweep.start(first)
    for epoch in (1, 2, 3, 4):
        sweep.report(first, epoch, 50.0 + epoch)
        sweep.save(first, tmp_path, epoch)
    assert sorted(sweep.records[0].checkpoints) == [1, 2, 3, 4]  # the other has not begun
    sweep.start(second)
    for epoch in (1, 2, 3):
        sweep.report(second, epoch)
    sweep.report(first, 5, 60.0)
    sweep.save(first, tmp_path, 5)
    assert sorted(sweep.records[0].checkpoints) == [3, 4, 5]  # the other is at 3, and may begin again from there


def test_tune_can_pickle_it_whatever_the_listeners_hold(sweep: Sweep) -> None:
    assert isinstance(pickle.loads(pickle.dumps(sweep.events)), TuneEvents)
