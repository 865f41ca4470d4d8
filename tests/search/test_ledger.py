"""The ledger: the order in which journal, study and listeners hear, checkpoints that go, seeds of a configuration."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.checkpoints.retention import superseded
from mdr_tune.records.journal import Journal, read_past
from mdr_tune.records.trial_record import Change, TrialRecord
from mdr_tune.search.ledger import Ledger
from tests.sweep.make import METRIC, Heard, make_record


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path, print)
    yield opened
    opened.close()


def make_ledger(
    journal: Journal, seeds: int = 1, keeps_all: bool = False, finalists: int | None = None
) -> tuple[Ledger, Heard, Heard]:
    listener, study = Heard(), Heard()
    ledger = Ledger(journal, [METRIC], seeds, keeps_all, [listener], [], num_finalists=finalists)
    ledger.study = study
    return ledger, listener, study


def run(ledger: Ledger, record: TrialRecord, *recalls: float, outcome: str = "completed") -> None:
    ledger.started(record)
    for number, recall in enumerate(recalls):
        ledger.epoch(record, {"epoch": number + 1.0, METRIC: recall}, None)
    ledger.ended(record, outcome, None)  # type: ignore[arg-type]


def test_the_journal_has_it_before_anybody_hears(journal: Journal, tmp_path: Path) -> None:
    ledger, listener, study = make_ledger(journal)
    on_disk: list[tuple[str, int]] = []

    class Looks:
        def __getattr__(self, event: str) -> object:
            return lambda *_: on_disk.append((event, sum(1 for _ in (tmp_path / "journal.jsonl").open())))

    ledger.study, ledger._listeners = Looks(), [Looks()]  # type: ignore[assignment]
    run(ledger, make_record(0), 50.0)
    assert on_disk == [("trial_started", 1), ("report", 2), ("epoch_finished", 2), ("complete", 3), ("trial_ended", 3)]
    assert listener.events == study.events == []


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("completed", ("complete", 0, [60.0])),
        ("stopped_early", ("prune", 0)),
        ("diverged", ("fail", 0, "diverged")),
        ("failed", ("fail", 0, "failed")),
    ],
)
def test_what_the_study_is_told(journal: Journal, outcome: str, told: tuple[object, ...]) -> None:
    ledger, _, study = make_ledger(journal)
    run(ledger, make_record(0), 50.0, 60.0, 55.0, outcome=outcome)
    assert study.events == [("report", 0, 1, 50.0), ("report", 0, 2, 60.0), ("report", 0, 3, 55.0), told]


def test_a_trial_that_was_interrupted_is_not_told(journal: Journal) -> None:
    ledger, listener, study = make_ledger(journal)
    run(ledger, make_record(0), 50.0, outcome="killed")
    assert study.events == [("report", 0, 1, 50.0)]
    assert listener.events[-1] == ("trial_ended", "mdr-001")


def test_values_that_are_no_numbers_are_never_reported(journal: Journal) -> None:
    ledger, _, study = make_ledger(journal)
    run(ledger, make_record(0), float("nan"), float("inf"), outcome="diverged")
    assert study.events == [("fail", 0, "diverged")]


def test_a_configuration_is_worth_the_mean_over_its_seeds(journal: Journal) -> None:
    ledger, _, study = make_ledger(journal, seeds=3)
    first = make_record(0)
    run(ledger, first, 60.0)
    assert ledger.missing_seeds(first) == [1, 2]
    run(ledger, make_record(0, seed_index=1), 66.0)
    assert study.events == [("report", 0, 1, 60.0)]
    run(ledger, make_record(0, seed_index=2), 63.0)
    assert study.events[1:] == [("complete", 0, [63.0])]
    assert ledger.missing_seeds(first) == []


def test_a_seed_that_failed_has_no_part_in_the_mean(journal: Journal) -> None:
    ledger, _, study = make_ledger(journal, seeds=2)
    run(ledger, make_record(0), 60.0)
    run(ledger, make_record(0, seed_index=1), 90.0, outcome="diverged")
    assert study.events[-1] == ("complete", 0, [60.0])


def test_what_is_stopped_early_gets_no_further_seed(journal: Journal) -> None:
    ledger, _, _ = make_ledger(journal, seeds=3)
    first = make_record(0)
    run(ledger, first, 60.0, outcome="stopped_early")
    assert ledger.missing_seeds(first) == []


def test_the_study_never_hears_of_the_further_seeds_of_finalists(journal: Journal) -> None:
    ledger, _, study = make_ledger(journal, seeds=2, finalists=1)
    first, second = make_record(0), make_record(1)
    run(ledger, first, 60.0)
    run(ledger, second, 50.0)
    run(ledger, make_record(2), 99.0, outcome="stopped_early")
    assert ledger.getting_seeds("mdr") == [first]
    run(ledger, make_record(0, seed_index=1), 20.0)
    assert ledger.getting_seeds("mdr") == [first]  # by its first seed still
    told = [event for event in study.events if event[0] == "complete"]
    assert told == [("complete", 0, [60.0]), ("complete", 1, [50.0]), ("complete", 0, [60.0])]  # the same again


def test_two_objectives(journal: Journal) -> None:
    study = Heard()
    ledger = Ledger(journal, [METRIC, "time/images_per_s"], 1, False, [], [])
    ledger.study = study
    record = make_record(0)
    ledger.started(record)
    for number, (recall, speed) in enumerate([(50.0, 10.0), (60.0, 30.0)]):
        ledger.epoch(record, {"epoch": number + 1.0, METRIC: recall, "time/images_per_s": speed}, None)
    ledger.ended(record, "completed", None)
    assert study.events[-1] == ("complete", 0, [60.0, 20.0])


def test_a_change_is_told_once(journal: Journal, tmp_path: Path) -> None:
    ledger, listener, _ = make_ledger(journal)
    record = make_record(0)
    ledger.started(record)
    for _ in range(2):  # a sweep that is resumed decides it again
        ledger.changed(record, Change(2, "mdr-002", {"mdr.weight": 0.3}))
    assert listener.events[1:] == [("trial_noted", "mdr-001")]
    assert len(read_past(tmp_path).records[0].changes) == 1


def test_a_checkpoint_stays_while_the_state_of_another_trial_follows_from_it(journal: Journal, tmp_path: Path) -> None:
    """mdr-001 went on from mdr-003 after epoch 1, and was interrupted before its own checkpoint of epoch 2.

    Then mdr-004 goes on from mdr-001 after epoch 2.
    """
    ledger, _, _ = make_ledger(journal)
    records = {number: make_record(number) for number in (0, 2, 3)}
    for record in records.values():
        ledger.started(record)

    def save(number: int, epoch: int) -> None:
        folder = tmp_path / f"{number}-{epoch}"
        folder.mkdir()
        ledger.epoch(records[number], {"epoch": float(epoch), METRIC: 50.0 + epoch}, None)
        ledger.checkpoint(records[number], epoch, folder, keep_from=99)

    for number in records:
        save(number, 1)
    ledger.changed(records[0], Change(1, records[2].name, {}))
    for epoch in (2, 3, 4):
        save(2, epoch)
    assert sorted(records[2].checkpoints) == [1, 3, 4]
    ledger.changed(records[3], Change(2, records[0].name, {}))
    save(0, 3)  # its own state is safe from here on; that of mdr-004 is not
    save(2, 5)
    assert sorted(records[2].checkpoints) == [1, 4, 5]
    save(3, 3)
    save(2, 6)
    assert sorted(records[2].checkpoints) == [5, 6]


@pytest.mark.parametrize(
    ("recalls", "keep_from", "gone"),
    [
        ((50.0,), 99, []),
        ((50.0, 60.0, 55.0, 54.0, 53.0), 99, [1, 3]),
        ((50.0, 51.0, 52.0, 53.0), 99, [1, 2]),
        ((50.0, 60.0, 55.0, 54.0, 53.0), 3, [1]),
        ((50.0, 60.0, 55.0, 54.0, 53.0), 0, []),
    ],
)
def test_best_and_the_two_newest_are_kept(recalls: tuple[float, ...], keep_from: int, gone: list[int]) -> None:
    record = make_record(0, *recalls)
    record.checkpoints = {epoch + 1: f"folder{epoch}" for epoch in range(len(recalls))}
    assert superseded(record, METRIC, keep_from) == gone


@pytest.mark.parametrize(("keeps_all", "left"), [(False, [2, 4, 5]), (True, [1, 2, 3, 4, 5])])
def test_superseded_checkpoints_are_deleted(journal: Journal, tmp_path: Path, keeps_all: bool, left: list[int]) -> None:
    ledger, _, _ = make_ledger(journal, keeps_all=keeps_all)
    record = make_record(0)
    ledger.started(record)
    for number, recall in enumerate((50.0, 60.0, 55.0, 54.0, 53.0)):
        ledger.epoch(record, {"epoch": number + 1.0, METRIC: recall}, None)
        folder = tmp_path / f"checkpoint_{number}"
        folder.mkdir()
        (folder / "checkpoint.pt").write_bytes(b"weights")
        ledger.checkpoint(record, number + 1, folder, keep_from=99)
    assert sorted(record.checkpoints) == left
    assert sorted(int(path.name[-1]) + 1 for path in tmp_path.glob("checkpoint_*")) == left
    assert sorted(read_past(tmp_path).records[0].checkpoints) == left
