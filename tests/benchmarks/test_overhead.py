"""The arithmetic of benchmarks/trial_overhead.py, on made-up stamps."""

import sys
from pathlib import Path

import pytest

from mdr_tune.records import TrialRecord
from mdr_tune.sweep.resources import Machine

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from overhead.launch import account
from overhead.trials import Side, Stopwatch, compare, first_trials, make_plan


def record(name: str, weight: float, recall: float, epoch_s: float = 1.0) -> TrialRecord:
    history = [{"epoch": 1.0, "val/recall_at_1": recall, "time/epoch_s": epoch_s}]
    config = {"mdr": {"weight": weight}}
    return TrialRecord(name, name, "mdr", {"mdr.weight": weight}, config, history, outcome="completed")


def side(*records: TrialRecord) -> Side:
    """Trials that run from second 10 * i + 3 to 10 * i + 9, in a search that starts at 0."""
    started = {r.trial_id: 10.0 * i + 3 for i, r in enumerate(records)}
    ended = {r.trial_id: 10.0 * i + 9 for i, r in enumerate(records)}
    return Side(list(records), Stopwatch(started, ended), search_start=0.0)


def test_beyond_training():
    measured = side(record("a", 0.1, 50.0, epoch_s=1.0), record("b", 0.2, 60.0, epoch_s=2.0))
    assert measured.beyond_training_s() == [5.0, 4.0]
    assert measured.beyond_training_of_further_trials_s() == 8.0
    assert measured.beyond_training_of_search_s() == 8.0
    assert side(record("a", 0.1, 50.0)).beyond_training_of_further_trials_s() is None


def test_a_failed_trial_is_no_measurement():
    failed = record("a", 0.1, 50.0)
    failed.outcome, failed.error = "failed", "boom"
    with pytest.raises(RuntimeError, match="boom"):
        side(failed)


def test_equal_configs_are_compared_and_others_left_out():
    lanes = side(record("x", 0.1, 50.0), record("y", 0.2, 60.0))
    same = compare(side(record("a", 0.1, 50.0), record("b", 0.3, 1.0)), lanes)
    assert (same.trials, same.metrics, same.differences) == (1, 1, [])
    assert "val/recall_at_1" in compare(side(record("a", 0.1, 50.5)), lanes).differences[0]


def test_both_sides_get_the_same_first_trials(tmp_path):
    plan = make_plan(4, tmp_path, Machine(2, 0, "a test"))
    assert [point["mdr.weight"] for point in first_trials(plan, 2).start_from] == [0.05, 0.1]
    assert len(first_trials(plan, 4).start_from) == 4


def test_a_launch_is_accounted_for_without_a_gap():
    names = "import of launch.py,plan,import ray,ray.init,hub,lanes,tracker,data,import of the search,tuner"
    names += ",fit,lease,trial started,join,join,command start,command epoch,epoch finished,trial ended"
    names += ",test evaluation,champion,lanes stopped,command returned"
    spans = [(name, 100.0 + i, 101.0 + i) for i, name in enumerate(names.split(","))]
    launch = account(spans, launched=99.0, left=130.0)
    rows = [*launch.to_first_epoch, *launch.after]
    assert sum(row.takes_s for row in rows) == pytest.approx(31.0)
    assert all(row.takes_s >= 0 for row in [*rows, *launch.beside])
    assert (
        launch.first_epoch_starts_s == 17.0
    )  # where the start command ended: second 16 to 17 of the stamps, launched one before
