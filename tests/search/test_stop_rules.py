"""What ends a search before its trials are used up."""

from typing import Any

import pytest

from mdr_tune.config.arms import arms
from mdr_tune.config.stop import StopConfig, parse_duration
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.search.stop_rules import StopRules
from mdr_tune.util.words import duration
from tests.sweep.make import METRIC, make_record, make_sweep


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_rules(
    clock: Clock | None = None, used_s: float = 0.0, seeds: int = 1, every_seed: bool = False, **stop: Any
) -> StopRules:
    sweep = make_sweep(search={"trials": 6, "baseline_trials": 2}, baselines=["triplet"], space=SPACE)
    rules = StopRules(
        StopConfig.model_validate(stop), arms(sweep), METRIC, 2, seeds, used_s, every_seed, clock or Clock()
    )
    rules.begin("mdr")
    return rules


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
    assert rules.closed("mdr") == rules.out_of_budget("mdr") == "its share of the time budget of 1m 20s is used up"
    assert rules.closed("triplet") is None
    rules.begin("triplet")
    clock.now += 19
    assert rules.closed("triplet") is None
    clock.now += 1
    assert rules.closed("triplet") is not None


def test_what_passed_before_the_first_search_is_borne_by_all() -> None:
    clock = Clock()
    rules = make_rules(clock, time="80s")
    clock.now += 40  # Ray, lanes, stores
    rules.begin("mdr")
    clock.now += 29
    assert rules.closed("mdr") is None
    clock.now += 1
    assert rules.closed("mdr") is not None
    rules.begin("triplet")
    clock.now += 9
    assert rules.closed("triplet") is None


def test_time_of_earlier_sessions_counts() -> None:
    clock = Clock()
    rules = make_rules(clock, used_s=40, time="80s")
    clock.now += 29
    assert rules.closed("mdr") is None
    clock.now += 1
    assert rules.closed("mdr") is not None


def test_gpu_hours_are_hours_of_epochs_times_gpus() -> None:
    rules = make_rules(gpu_hours=1.0)  # 2 GPUs a trial; three quarters of the budget are the main arm's
    record = make_record(0)
    for epoch in (1, 2, 3):
        record.history.append({"epoch": float(epoch), "time/epoch_s": 450.0})
        assert rules.out_of_budget("mdr") is None
        rules.epoch_finished(record)
    assert rules.out_of_budget("mdr") == "its share of the budget of 1 GPU hours is used up"
    resumed = make_rules(gpu_hours=0.75)
    resumed.past([record])
    resumed.begin("mdr")
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
    assert rules.closed("mdr") is None
    rules.trial_ended(ended(6, 99.0, outcome="diverged"))
    assert rules.closed("mdr") == "no new best in 2 trials"


def test_a_configuration_with_several_seeds_is_judged_once_by_their_mean() -> None:
    rules = make_rules(seeds=2, patience=1, target=65.0)
    rules.trial_ended(ended(0, 70.0))
    assert rules.closed("mdr") is None
    rules.trial_ended(ended(0, 50.0, seed_index=1))
    assert rules.closed("mdr") is None
    rules.trial_ended(ended(1, 60.0))
    rules.trial_ended(ended(1, 62.0, seed_index=1))
    assert rules.closed("mdr") is None  # 61 is more than 60
    rules.trial_ended(ended(2, 60.5, outcome="stopped_early"))
    assert rules.closed("mdr") == "no new best in 1 trial"


def test_of_finalists_the_first_seeds_decide_and_the_further_ones_count_for_nothing() -> None:
    rules = make_rules(seeds=1, patience=2, target=65.0)
    for record in (ended(0, 60.0), ended(1, 50.0), ended(0, 90.0, seed_index=1), ended(0, 10.0, seed_index=2)):
        rules.trial_ended(record)
        assert rules.closed("mdr") is None
    rules.trial_ended(ended(2, 50.0))
    assert rules.closed("mdr") == "no new best in 2 trials"


def test_where_every_seed_is_trained_a_configuration_counts_once_though_its_seeds_fail() -> None:
    rules = make_rules(seeds=3, every_seed=True, patience=2)
    for seed_index in (2, 0, 1):  # side by side: they end in any order
        assert rules.closed("mdr") is None
        rules.trial_ended(ended(0, 50.0, outcome="failed", seed_index=seed_index))
    for seed_index in range(3):
        assert rules.closed("mdr") is None
        rules.trial_ended(ended(1, outcome="failed", seed_index=seed_index))
    assert rules.closed("mdr") is None
    for seed_index in range(3):
        rules.trial_ended(ended(2, outcome="failed", seed_index=seed_index))
    assert rules.closed("mdr") is not None
