"""Where Tune's trials come from: new, left over, further seeds; never more at a time than there are lanes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.experiment import Experiment, Trial

from mdr_tune.records.journal import FILE as JOURNAL
from mdr_tune.records.journal import Journal, read_past
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.search.ledger import Ledger
from mdr_tune.search.trial_source import MOST_TIMES_LOST, TrialSource
from tests.sweep.make import METRIC, make_arm, make_record


class Counting:
    """A search that numbers its suggestions."""

    def __init__(self, first: int = 0, there_are: int = 99) -> None:
        self.asked, self.there_are = first, there_are

    def next_name(self) -> str | None:
        if self.asked == self.there_are:
            return None
        self.asked += 1
        return f"mdr-{self.asked:03d}"

    def suggest(self, name: str) -> dict[str, Any]:
        return {"trial": {"epochs": 4, "seed": 7}, "parameters": {"mdr.weight": float(name[-1])}}


class Nothing(tune.Trainable):
    """What the trials would run; none is run here."""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "launch", print)
    yield opened
    opened.close()


class Case:
    """A source with its ledger, and what Tune would do with the trials."""

    def __init__(self, journal: Journal, folder: Path, *past: TrialRecord, **options: Any) -> None:
        seeds, lanes = options.pop("seeds", [0]), options.pop("lanes", 2)
        self.why: str | None = None
        self.over: str | None = None
        every_seed, finalists = options.pop("every_seed", False), options.pop("finalists", None)
        self.ledger = Ledger(journal, [METRIC], len(seeds), False, [], list(past), every_seed, finalists)
        orphans = options.pop("orphans", {})
        known = sum(record.seed_index == 0 for record in past) + len(orphans)
        self.search = Counting(known, options.pop("there_are", 99))
        self.source = TrialSource(
            make_arm(options.pop("trials", 4)),
            self.search,
            self.ledger,
            lanes,
            seeds,
            options.pop("replays", False),
            orphans,
            lambda: self.why or self.over,
            lambda: self.over,
        )
        spec = Experiment("mdr", Nothing, num_samples=1, storage_path=str(folder))
        self.source.add_configurations([spec])

    def next(self) -> Trial | None:
        """Take a trial as Tune does, and begin it."""
        trial = self.source.next_trial()
        if trial is not None and self.ledger.trial(trial.trial_id) is None:
            first, _, seed = trial.trial_id.partition(".")
            config = trial.config["trial"]
            self.ledger.started(TrialRecord(trial.trial_id, "mdr", int(first[-3:]) - 1, {}, config, int(seed or 1) - 1))
        return trial

    def end(self, trial: Trial, outcome: str = "completed", value: float | None = None) -> None:
        record = self.ledger.trial(trial.trial_id)
        assert record is not None
        if value is not None:
            self.ledger.epoch(record, {"epoch": 1.0, METRIC: value}, None)
        self.ledger.ended(record, outcome, None)  # type: ignore[arg-type]
        trial.set_status(Trial.TERMINATED)

    def names(self, values: dict[str, float] | None = None) -> list[str]:
        """Run all that comes, one at a time, to the given values, and return the names."""
        names = []
        while (trial := self.next()) is not None:
            names.append(trial.trial_id)
            self.end(trial, value=(values or {}).get(trial.trial_id))
        return names


def test_trials_are_named_by_the_search_and_come_until_they_are_used_up(journal: Journal, tmp_path: Path) -> None:
    case = Case(journal, tmp_path)
    assert not case.source.is_finished()
    assert case.names() == ["mdr-001", "mdr-002", "mdr-003", "mdr-004"]
    assert case.source.is_finished()


def test_a_search_that_has_nothing_new_ends(journal: Journal, tmp_path: Path) -> None:
    case = Case(journal, tmp_path, there_are=2)
    first, second = case.next(), case.next()
    assert first is not None
    assert second is not None
    assert not case.source.has_nothing_new
    case.end(first)
    assert case.next() is None
    assert (case.source.has_nothing_new, case.source.is_finished()) == (True, False)  # one runs
    case.end(second)
    assert case.source.is_finished()


def test_there_are_no_more_than_lanes_and_paused_trials_do_not_count(journal: Journal, tmp_path: Path) -> None:
    case = Case(journal, tmp_path, lanes=2)
    first, second = case.next(), case.next()
    assert first is not None
    assert second is not None
    assert case.next() is None
    first.set_status(Trial.PAUSED)
    third = case.next()
    assert third is not None
    assert case.next() is None
    case.end(third)
    assert case.next() is not None


def test_what_an_interrupted_sweep_left_comes_first(journal: Journal, tmp_path: Path) -> None:
    done, left = make_record(0, 50.0, outcome="completed"), make_record(1, 60.0, 61.0)
    left.checkpoints = {1: "one", 2: "two"}
    case = Case(journal, tmp_path, done, left)
    trial = case.next()
    assert trial is not None
    assert trial.trial_id == "mdr-002"
    assert trial.config["resume"] == {"checkpoint": "two", "epoch": 2}
    assert trial.config["recorded"] == []
    case.end(trial)
    assert case.names() == ["mdr-003", "mdr-004"]


def test_of_a_synchronous_search_all_go_through_tune_again(journal: Journal, tmp_path: Path) -> None:
    done, failed = make_record(0, 50.0, outcome="completed"), make_record(1, 60.0, outcome="failed", error="why")
    case = Case(journal, tmp_path, done, failed, replays=True)
    first, second = case.next(), case.next()
    assert first is not None
    assert second is not None
    assert first.config["recorded"] == done.history
    assert (first.config["failure"], second.config["failure"]) == (None, {"kind": "failed", "text": "why"})


def test_what_the_study_was_asked_for_in_vain_is_run(journal: Journal, tmp_path: Path) -> None:
    orphans = {"mdr-002": {"trial": {"epochs": 4, "seed": 7}, "parameters": {"mdr.weight": 0.5}}}
    case = Case(journal, tmp_path, make_record(0, 50.0, outcome="completed"), orphans=orphans)
    assert case.names() == ["mdr-002", "mdr-003", "mdr-004"]


def test_survivors_get_further_seeds_and_others_do_not(journal: Journal, tmp_path: Path) -> None:
    case = Case(journal, tmp_path, trials=2, seeds=[7, 8, 9], lanes=1)
    first = case.next()
    assert first is not None
    case.end(first, "stopped_early")
    second = case.next()
    assert second is not None
    assert not case.source.is_finished()
    case.end(second)
    third = case.next()
    assert third is not None
    assert (third.trial_id, third.config["trial"]["seed"], third.config["exempt"]) == ("mdr-002.2", 8, True)
    case.end(third)
    assert case.names() == ["mdr-002.3"]
    assert case.source.is_finished()


def test_seeds_that_a_crash_left_out_are_made_up_for(journal: Journal, tmp_path: Path) -> None:
    past = [make_record(0, 50.0, outcome="completed"), make_record(0, 51.0, seed_index=1, outcome="completed")]
    case = Case(journal, tmp_path, *past, trials=1, seeds=[0, 1, 2])
    assert not case.source.is_finished()
    assert case.names() == ["mdr-001.3"]
    assert case.source.is_finished()


def test_every_seed_of_an_ablation_is_trained_whatever_becomes_of_the_first(journal: Journal, tmp_path: Path) -> None:
    case = Case(journal, tmp_path, trials=2, seeds=[7, 3, 11], lanes=2, every_seed=True)
    first, second = case.next(), case.next()
    assert first is not None
    assert second is not None  # side by side: it does not wait for the first
    assert (first.trial_id, second.trial_id, second.config["trial"]["seed"]) == ("mdr-001", "mdr-001.2", 3)
    case.end(first, "failed")
    case.end(second, "diverged")
    assert case.names() == ["mdr-001.3", "mdr-002", "mdr-002.2", "mdr-002.3"]
    assert case.source.is_finished()


FIRST_SEEDS = {"mdr-001": 50.0, "mdr-002": 60.0, "mdr-003": 40.0, "mdr-004": 70.0}


def test_finalists_get_further_seeds_once_all_first_seeds_have_ended(journal: Journal, tmp_path: Path) -> None:
    case = Case(journal, tmp_path, trials=3, seeds=[7, 8, 9], finalists=2)
    first, second = case.next(), case.next()
    assert first is not None
    assert second is not None
    case.end(first, value=50.0)
    third = case.next()
    assert third is not None
    case.end(third, value=60.0)
    assert case.next() is None  # a lane is free, but mdr-002 may become a finalist
    assert not case.source.is_finished()
    case.end(second, "stopped_early", 90.0)
    final = case.next()
    assert final is not None
    assert (final.trial_id, final.config["trial"]["seed"], final.config["exempt"]) == ("mdr-003.2", 8, True)
    case.end(final, value=0.0)
    assert case.names() == ["mdr-001.2", "mdr-003.3", "mdr-001.3"]
    assert case.source.is_finished()


def test_a_search_killed_at_any_moment_has_the_same_finalists(journal: Journal, tmp_path: Path) -> None:
    """The journal is cut after each of its lines; its further seeds are better or worse than all first seeds."""
    options: dict[str, Any] = {"trials": 4, "seeds": [0, 1, 2], "finalists": 2}
    values = FIRST_SEEDS | {"mdr-004.2": 0.0, "mdr-002.2": 90.0, "mdr-004.3": 1.0, "mdr-002.3": 99.0}
    names = Case(journal, tmp_path, **options).names(values)
    assert names == list(values)
    lines = (tmp_path / "launch" / JOURNAL).read_bytes().splitlines(keepends=True)
    assert len(lines) == 3 * len(names)
    for cut in range(len(lines)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / JOURNAL).write_bytes(b"".join(lines[:cut]))
        past = read_past(folder).records
        for record in past:
            if not record.ended:
                record.history.clear()  # it has no checkpoint here
        resumed = Journal(folder, print)
        case = Case(resumed, tmp_path, *past, **options)
        done = [record.name for record in past if record.ended]
        assert [*done, *case.names(values)] == names
        assert case.source.is_finished()
        resumed.close()


def test_an_extension_chooses_finalists_anew_and_the_others_keep_their_seeds(journal: Journal, tmp_path: Path) -> None:
    past = [make_record(0, 50.0, outcome="completed"), make_record(1, 60.0, outcome="completed")]
    past.append(make_record(1, 0.0, seed_index=1, outcome="completed"))
    case = Case(journal, tmp_path, *past, trials=4, seeds=[0, 1], finalists=2)
    assert case.names(FIRST_SEEDS) == ["mdr-003", "mdr-004", "mdr-004.2"]
    assert case.source.is_finished()


def test_a_target_ends_the_search_before_its_finals_and_a_budget_ends_both(journal: Journal, tmp_path: Path) -> None:
    case = Case(journal, tmp_path, trials=4, seeds=[0, 1], finalists=1)
    first, second = case.next(), case.next()
    assert first is not None
    assert second is not None
    case.why = "the target is reached"
    case.end(first, value=60.0)
    assert case.next() is None
    case.end(second, value=50.0)
    case.over = "its GPU hours are used up"
    assert case.next() is None
    assert case.source.is_finished()
    case.over = None
    assert case.names() == ["mdr-001.2"]
    assert case.source.is_finished()


def test_a_search_that_is_closed_gives_nothing_new_but_ends_what_it_began(journal: Journal, tmp_path: Path) -> None:
    case = Case(journal, tmp_path, make_record(0, 50.0), lanes=2)
    case.why = "the target is reached"
    trial = case.next()
    assert trial is not None
    assert trial.trial_id == "mdr-001"
    assert case.next() is None
    case.end(trial)
    assert case.next() is None
    assert case.source.is_finished()


def test_what_tune_gives_up_is_handed_out_with_its_checkpoint_but_not_for_ever(
    journal: Journal, tmp_path: Path
) -> None:
    case = Case(journal, tmp_path, lanes=1, trials=1)
    trial = case.next()
    for _ in range(MOST_TIMES_LOST):
        assert trial is not None
        checkpoints = trial.run_metadata.checkpoint_manager
        case.source.on_trial_complete("mdr-001", error=True)
        trial.set_status(Trial.ERROR)
        assert case.source.goes_on("mdr-001")
        assert not case.source.is_finished()
        trial = case.next()
        assert trial is not None
        assert (trial.trial_id, trial.run_metadata.checkpoint_manager is checkpoints) == ("mdr-001", True)
    case.source.on_trial_complete("mdr-001", error=True)
    assert trial is not None
    trial.set_status(Trial.ERROR)
    assert case.next() is None
    assert case.source.is_finished()


def test_it_is_not_finished_while_a_trial_is_paused(journal: Journal, tmp_path: Path) -> None:
    case = Case(journal, tmp_path, trials=1)
    trial = case.next()
    assert trial is not None
    trial.set_status(Trial.PAUSED)
    assert not case.source.is_finished()
    case.end(trial)
    assert case.source.is_finished()


def test_tune_may_end_it(journal: Journal, tmp_path: Path) -> None:
    case = Case(journal, tmp_path)
    case.source.set_finished()
    assert case.next() is None
    assert case.source.is_finished()


def test_every_seed_is_trained_in_every_fold(journal: Journal, tmp_path: Path) -> None:
    seeds, folds = [5, 8], 3
    validation = {"folds": folds, "fold": 0, "seed": 2}
    config = {"seed": 5, "data": {"name": "glyphs", "validation": validation}}
    first = TrialRecord("mdr-001", "mdr", 0, {}, config, outcome="failed")
    ledger = Ledger(journal, [METRIC], len(seeds) * folds, False, [], [first], every_seed=True)
    arm = make_arm(1)
    source = TrialSource(arm, Counting(1, 1), ledger, 9, seeds, False, {}, lambda: None, folds=folds)
    source.add_configurations([Experiment("mdr", Nothing, num_samples=1, storage_path=str(tmp_path))])
    found = [trial for _ in range(6) if (trial := source.next_trial()) is not None]
    repeats = [(t.trial_id, t.config["trial"]["seed"], t.config["trial"]["data"]["validation"]) for t in found]
    assert repeats == [(f"mdr-001.{k + 1}", seeds[k // folds], {**validation, "fold": k % folds}) for k in range(1, 6)]
