"""How far a sweep is, and what the rest takes, from what was measured."""

from typing import Any

import pytest

from mdr_tune.cli.pace import Finals, Pace
from mdr_tune.cluster.machine import Machine
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.records.trial_record import Outcome, TrialRecord
from mdr_tune.sweep.lane_layout import fit_lanes


def lanes(num: int = 1, workers: int = 1, gpus: int = 0) -> LaneResources:
    from mdr_tune.config.sweep import SweepConfig

    sweep = SweepConfig.model_validate({"name": "x", "resources": {"workers_per_trial": workers, "lanes": num}})
    return fit_lanes(sweep, Machine(64, 64 * gpus, "this machine"))


def record(name: str, epochs: int = 0, outcome: Outcome = "running", seconds: float = 2.0) -> TrialRecord:
    history = [{"epoch": float(epoch), "time/epoch_s": seconds} for epoch in range(1, epochs + 1)]
    seed_index = int(name.split(".")[1]) - 1 if "." in name else 0
    return TrialRecord(name, "mdr", 0, {}, {"epochs": 8}, seed_index=seed_index, history=history, outcome=outcome)


def play(pace: Pace, *records: TrialRecord) -> Pace:
    """Let the trials happen, one after another, epoch by epoch."""
    for whole in records:
        growing = TrialRecord(whole.name, "mdr", 0, {}, whole.config, seed_index=whole.seed_index)
        pace.started(growing)
        for epoch in whole.history:
            growing.history.append(epoch)
            pace.epoch_finished(growing)
        growing.outcome = whole.outcome
    return pace


def test_before_the_first_epoch_nothing_is_known() -> None:
    pace = play(Pace(4, lanes(gpus=1)), record("mdr-001"))
    assert pace.seconds_left is None
    assert pace.describe_gpu_hours() is None
    assert pace.share_done == 0


def test_without_an_end_yet_every_trial_has_all_of_its_epochs() -> None:
    pace = play(Pace(4, lanes(2)), record("mdr-001", 3), record("mdr-002", 1))
    assert pace.epochs_left == 5 + 7 + 2 * 8
    assert pace.seconds_left == 28 / 2 * 2.0
    assert pace.share_done == 4 / 32


def test_trials_to_come_are_as_long_as_those_before_in_the_mean() -> None:
    pace = play(
        Pace(6, lanes()),
        record("mdr-001", 8, "completed"),
        record("mdr-002", 2, "stopped_early"),
        record("mdr-003", 2, "stopped_early"),
        record("mdr-004", 5, "failed"),  # says nothing of how long a trial is
        record("mdr-005", 3),  # further than those of 2: as long as the one of 8
    )
    assert pace.epochs_left == 5 + 1 * 4
    assert pace.seconds_left == 9 * 2.0
    assert pace.trials_done == 4


def test_a_trial_is_not_split_among_lanes() -> None:
    pace = play(Pace(1, lanes(4)), record("mdr-001", 2))
    assert pace.seconds_left == 6 * 2.0


def test_at_the_end_there_is_no_time_left() -> None:
    pace = play(Pace(1, lanes(gpus=1)), record("mdr-001", 8, "completed", seconds=450.0))
    assert pace.seconds_left is None
    assert pace.share_done == 1
    assert pace.describe_gpu_hours() == "1.0 GPU hours"


def test_gpu_hours_count_every_gpu_of_a_lane() -> None:
    pace = play(Pace(2, lanes(1, workers=4, gpus=1)), record("mdr-001", 8, "completed", seconds=225.0))
    assert pace.describe_gpu_hours() == "2.0 of about 4.0 GPU hours"
    assert play(Pace(2, lanes()), record("mdr-001", 1)).describe_gpu_hours() is None


def test_further_seeds_of_survivors_are_still_to_come() -> None:
    pace = play(
        Pace(4, lanes(), seeds_per_trial=3),
        record("mdr-001", 8, "completed"),
        record("mdr-001.2", 8, "completed"),
        record("mdr-002", 8, "completed"),
    )
    assert pace.trials_done == 2
    # two trials of 8, and three seeds of the two that survived and four of the two that will, as both did
    assert pace.epochs_left == 2 * 8 + (3 + 4) * 8


def test_finalists_alone_have_further_seeds_to_come() -> None:
    def with_value(name: str, value: float) -> TrialRecord:
        whole = record(name, 8, "completed")
        whole.history[-1]["value"] = value
        return whole

    pace = Pace(3, lanes(), seeds_per_trial=3, finals=Finals("value", 1, {"mdr": 3}))
    play(pace, with_value("mdr-001", 50.0))
    assert pace.epochs_left == 2 * 8 + 2 * 8
    play(pace, with_value("mdr-002", 60.0), record("mdr-003", 8, "failed"), record("mdr-002.2", 8, "completed"))
    assert (pace.epochs_left, pace.further_seeds_done, pace.further_seeds) == (8, 1, 2)
    play(pace, record("mdr-002.3", 8, "completed"))
    assert pace.epochs_left == 0
    past = pace.records  # the sweep is extended: mdr-002 is the finalist no more
    pace = play(Pace(4, lanes(), 3, past, finals=Finals("value", 1, {"mdr": 4})), with_value("mdr-004", 70.0))
    assert pace.epochs_left == 2 * 8


def test_earlier_sessions_are_done_but_not_in_the_pace() -> None:
    past = [record("mdr-001", 8, "completed", seconds=100.0), record("mdr-002", 3, "killed", seconds=100.0)]
    pace = Pace(3, lanes(gpus=1), past=past)
    assert (pace.trials_done, pace.epochs_done) == (1, 11)
    assert pace.seconds_left is None
    going_on = past[1]
    going_on.outcome = "running"
    pace.started(going_on)
    going_on.history.append({"epoch": 4.0, "time/epoch_s": 2.0})
    pace.epoch_finished(going_on)
    assert pace.epochs_left == 4 + 8
    assert pace.seconds_left == 12 * 2.0
    assert pace.describe_gpu_hours() == "0.3 of about 0.3 GPU hours"  # 1,102 s and 24 more
    assert len(pace.records) == 2


@pytest.mark.parametrize("outcome", ["killed", "running"])
def test_what_will_go_on_is_not_done(outcome: Any) -> None:
    assert Pace(2, lanes(), past=[record("mdr-001", 3, outcome)]).trials_done == 0


def test_every_seed_of_an_ablation_is_a_trial_like_any_other() -> None:
    pace = play(
        Pace(2, lanes(), seeds_per_trial=3, every_seed=True),
        record("mdr-001", 2, "failed"),
        record("mdr-001.2", 8, "completed"),
    )
    assert (pace.num_trials, pace.trials_done, pace.further_seeds_done) == (6, 2, 0)
    assert pace.epochs_left == (1 + 3) * 8  # the last seed of the first, and all three of the second
