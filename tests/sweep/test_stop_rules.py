"""What ends a search before its trials are used up."""

from typing import Any

import pytest

from mdr_tune.config.arms import arms
from mdr_tune.config.stop import StopConfig, parse_duration
from mdr_tune.records import TrialRecord
from mdr_tune.sweep.stop_rules import StopRules
from mdr_tune.words import duration
from tests.sweep.make import METRIC, make_record, make_sweep


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_rules(clock: Clock | None = None, used_s: float = 0.0, **stop: Any) -> StopRules:
    sweep = make_sweep(search={"trials": 6, "baseline_trials": 2}, baselines=["triplet"], space=SPACE)
    return StopRules(StopConfig.model_validate(stop), arms(sweep), METRIC, 2, used_s, clock or Clock())


SPACE = {"mdr.weight": {"loguniform": [0.01, 1]}, "loss.margin": {"uniform": [0.1, 0.3]}}


def ended(number: int, *recalls: float, outcome: str = "completed", **changes: Any) -> TrialRecord:
    record = make_record(number, *recalls, **changes)
    record.outcome = outcome  # type: ignore[assignment]
    return record


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5d", 129600), ("1h 5s", 3605)]
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert StopConfig.model_validate({"time": text}).time == seconds


@pytest.mark.parametrize("text", ["", "2", "2 hours", "h", "0s", "-1h", "1h2", "2h!"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time"):
        parse_duration(text)


def test_a_stored_rule_is_read_again() -> None:
    config = StopConfig.model_validate({"time": "2h", "patience": 3})
    assert StopConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (45, "45s"), (5400, "1h 30m"), (172800, "2d"), (3661, "1h 1m")]
)
def test_a_duration_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_time_is_shared_by_the_number_of_trials_and_what_is_left_goes_to_the_next() -> None:
    clock = Clock()
    rules = make_rules(clock, time="80s")
    clock.now += 59
    assert rules.closed("mdr") is None
    clock.now += 1
    assert rules.closed("mdr") == rules.out_of_budget("mdr") == "the time budget of 1m 20s is used up"
    assert rules.closed("triplet") is None
    clock.now += 20
    assert rules.closed("triplet") is not None


def test_time_of_earlier_sessions_counts() -> None:
    assert make_rules(used_s=59, time="80s").closed("mdr") is None
    assert make_rules(used_s=60, time="80s").closed("mdr") is not None


def test_gpu_hours_are_hours_of_epochs_times_gpus() -> None:
    rules = make_rules(gpu_hours=1.0)  # 2 GPUs a trial; three quarters of the budget are the main arm's
    record = make_record(0)
    for epoch in (1, 2, 3):
        record.history.append({"epoch": float(epoch), "time/epoch_s": 450.0})
        assert rules.out_of_budget("mdr") is None
        rules.epoch_finished(record)
    assert rules.out_of_budget("mdr") == "the budget of 1 GPU hours is used up"
    resumed = make_rules(gpu_hours=1.0)
    resumed.past([record])
    assert resumed.out_of_budget("mdr") is not None


def test_a_target_closes_the_search_and_stops_nothing() -> None:
    rules = make_rules(target=70.0)
    rules.trial_ended(ended(0, 60.0, 69.9))
    assert rules.closed("mdr") is None
    rules.trial_ended(ended(1, 70.0, 60.0))
    assert rules.closed("mdr") == "the target of 70 is reached"
    assert rules.out_of_budget("mdr") is None
    assert rules.closed("triplet") is None


def test_trials_without_a_new_best() -> None:
    rules = make_rules(patience=2)
    for record in (ended(0, 60.0), ended(1, 50.0), ended(2, 61.0), ended(3, 61.0)):
        rules.trial_ended(record)
    assert rules.closed("mdr") is None
    rules.trial_ended(ended(4, 0.0, outcome="killed"))
    rules.trial_ended(ended(5, 10.0, seed_index=1))
    assert rules.closed("mdr") is None
    rules.trial_ended(ended(6, 99.0, outcome="diverged"))
    assert rules.closed("mdr") == "no new best in 2 trials"
