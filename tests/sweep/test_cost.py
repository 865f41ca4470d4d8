"""What a sweep costs: its epochs against schedulers played through, and the times of earlier launches."""

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdr_tune.cluster.machine import Machine
from mdr_tune.config.arms import Arm
from mdr_tune.config.schedulers import Epochs, SchedulerConfig, asha_survivors, hyperband_epochs
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.sweep.cost import (
    Cost,
    MeasuredEpoch,
    arm_epochs,
    describe_epochs,
    describe_time,
    device_hours,
    estimate,
    final_epochs,
    measured_epoch,
)
from mdr_tune.sweep.lane_layout import fit_lanes


def lanes(num: int = 1, workers: int = 2, gpus: int = 0) -> LaneResources:
    resources = {"workers_per_trial": workers, "lanes": num}
    sweep = SweepConfig.model_validate({"name": "x", "resources": resources})
    return fit_lanes(sweep, Machine(64, 64 * gpus, "this machine"))


def scheduler(**config: Any) -> SchedulerConfig:
    return SweepConfig.model_validate({"name": "x", "search": {"scheduler": config}}).search.scheduler


def make_arm(trials: int, num_epochs: int, name: str = "mdr", **space: Any) -> Arm:
    sweep = SweepConfig.model_validate({"name": "x", "trial": {"epochs": num_epochs}, "space": space})
    return Arm(name, sweep.trial, sweep.space, (), trials)


# ---- epochs


@pytest.mark.parametrize("name", ["none", "pbt"])
def test_without_early_stopping_every_trial_has_all_of_its_epochs(name: str) -> None:
    assert arm_epochs(make_arm(10, 8), scheduler(name=name), seeds=1) == Epochs(80, 80.0, 80)
    assert arm_epochs(make_arm(10, 8), scheduler(name="none"), seeds=3) == Epochs(240, 240.0, 240)


def test_epochs_that_are_searched_are_known_within_bounds() -> None:
    arm = make_arm(10, 8, epochs={"choice": [4, 6, 9]})
    assert arm_epochs(arm, scheduler(name="none"), 1) == Epochs(40, None, 90)
    assert arm_epochs(arm, scheduler(name="asha", grace_epochs=2), 1) == Epochs(9 * 2 + 4, None, 90)


def test_of_median_stopping_the_bounds_are_known() -> None:
    assert arm_epochs(make_arm(10, 8), scheduler(name="median", grace_epochs=3), 2) == Epochs(9 * 3 + 16, None, 160)


def play_asha(trials: int, rungs: int, factor: int, draw: Callable[[], float]) -> list[int]:
    """Return how many trials pass each rung in Tune's own bracket, values drawn anew at each rung."""
    from ray.tune.schedulers.async_hyperband import _Bracket

    class Named:
        def __init__(self, number: int) -> None:
            self.trial_id = str(number)

    bracket = _Bracket(1, factor**rungs, factor, 0)
    passed = [0] * rungs
    for number in range(trials):
        for rung in range(rungs):
            if bracket.on_result(Named(number), factor**rung, draw()) == "STOP":
                break
            passed[rung] += 1
    return passed


@pytest.mark.parametrize(("trials", "rungs", "factor"), [(12, 2, 3), (20, 3, 2), (5, 1, 4)])
def test_ashas_survivors_are_the_mean_of_tunes_own_bracket(trials: int, rungs: int, factor: int) -> None:
    games = 400
    rng = random.Random(0)
    played = [play_asha(trials, rungs, factor, rng.random) for _ in range(games)]
    for expected, counts in zip(asha_survivors(trials, rungs, factor), zip(*played, strict=True), strict=True):
        mean = sum(counts) / games
        deviation = (sum((c - mean) ** 2 for c in counts) / games) ** 0.5
        assert abs(mean - expected) < 4 * deviation / games**0.5


def test_ashas_survivors_of_one_and_two_trials_by_hand() -> None:
    assert asha_survivors(1, 2, 3) == [1.0, 1.0]  # the first at a rung always passes
    # the second passes if it is not below the first: 1/2; then the same at the next rung, if it came there
    assert asha_survivors(2, 2, 3) == pytest.approx([1.5, 1.25])


def test_ashas_epochs_are_grace_for_all_then_those_of_the_survivors() -> None:
    first, second = asha_survivors(12, 2, 2)
    found = arm_epochs(make_arm(12, 8), scheduler(name="asha", grace_epochs=2, reduction_factor=2), seeds=1)
    assert found.expected == pytest.approx(12 * 2 + first * 2 + second * 4)
    assert (found.least, found.most) == (11 * 2 + 8, 96)
    with_seeds = arm_epochs(make_arm(12, 8), scheduler(name="asha", grace_epochs=2, reduction_factor=2), seeds=3)
    assert with_seeds.expected == pytest.approx(found.expected + second * 2 * 8)


@pytest.mark.parametrize("grace", [1, 3, 8, 20])
def test_ashas_expectation_is_within_its_bounds(grace: int) -> None:
    for trials in (1, 2, 7, 40):
        found = arm_epochs(make_arm(trials, 8), scheduler(name="asha", grace_epochs=grace), seeds=1)
        assert found.expected is not None
        assert found.least <= found.expected + 1e-9
        assert found.expected <= found.most + 1e-9


def exact_asha_survivors(trials: int, rungs: int, factor: int) -> list[float]:
    """Return the expectations by the distribution of the number of trials that come to each rung."""
    arriving = np.zeros(trials + 1)  # arriving[n]: probability that n trials come to the rung
    arriving[trials] = 1.0
    expected = []
    for _ in range(rungs):
        passing = np.zeros(trials + 1)
        passing[0] = arriving[0]
        passed = np.zeros(trials + 1)  # passed[k]: probability that k of the first m + 1 pass
        passed[0] = 1.0
        for m in range(trials):
            chance = 1.0 if m == 0 else (1 + (m - 1) / factor) / (m + 1)
            passed[1:] = passed[1:] * (1 - chance) + passed[:-1] * chance
            passed[0] *= 1 - chance
            passing += arriving[m + 1] * passed
        expected.append(float(np.dot(np.arange(trials + 1), passing)))
        arriving = passing
    return expected


@pytest.mark.parametrize("factor", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("trials", [1, 2, 3, 5, 8, 20, 100, 400])
def test_ashas_survivors_are_nearly_those_of_the_exact_distribution(trials: int, factor: int) -> None:
    assert asha_survivors(trials, 4, factor) == pytest.approx(exact_asha_survivors(trials, 4, factor), abs=0.1)


def test_of_a_million_trials_the_survivors_are_near_one_of_factor() -> None:
    first, second = asha_survivors(1_000_000, 2, 4)
    assert 250_000 < first < 250_020
    assert 62_500 < second < 62_530


def play_hyperband(trials: int, max_epochs: int, factor: int) -> int:
    """HyperBand by its definition: brackets from the widest to the narrowest, and again; counts every epoch."""
    highest = max(s for s in range(20) if factor**s <= max_epochs)
    trained = [0] * trials
    waiting = list(range(trials))
    s = highest
    while waiting:
        size = -(-(highest + 1) * factor**s // (s + 1))
        alive, waiting = waiting[:size], waiting[size:]
        began = len(alive)
        for k in range(s + 1):
            for trial in alive:
                while trained[trial] < max_epochs // factor ** (s - k):
                    trained[trial] += 1
            alive = alive[: max(1, began // factor ** (k + 1))]
        s = highest if s == 0 else s - 1
    return sum(trained)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("max_epochs", [1, 2, 5, 8, 9, 27, 30])
def test_hyperbands_epochs_are_those_of_its_brackets(max_epochs: int, factor: int) -> None:
    for trials in (1, 2, 9, 14, 31, 100):
        assert hyperband_epochs(trials, max_epochs, factor) == play_hyperband(trials, max_epochs, factor)


def test_hyperbands_number_is_exact() -> None:
    number = hyperband_epochs(14, 9, 3)
    assert arm_epochs(make_arm(14, 9), scheduler(name="hyperband"), 1) == Epochs(number, float(number), number)


def test_finalists_alone_have_the_epochs_of_further_seeds() -> None:
    arm = make_arm(10, 8)
    assert final_epochs(arm, scheduler(name="none"), 2, finalists=3, most=3) == Epochs(48, 48.0, 48)
    assert final_epochs(make_arm(2, 8), scheduler(name="none"), 2, finalists=3, most=3) == Epochs(32, 32.0, 32)
    assert final_epochs(arm, scheduler(name="none"), 2, finalists=3, most=6) == Epochs(48, None, 96)  # was extended
    asha = scheduler(name="asha", grace_epochs=2, reduction_factor=2)
    (*_, survivors) = asha_survivors(10, 2, 2)  # at least the best one
    assert final_epochs(arm, asha, 1, finalists=9, most=9) == Epochs(8, pytest.approx(8 * survivors), 72)
    assert final_epochs(arm, asha, 1, finalists=1, most=1) == Epochs(8, 8.0, 8)


# ---- time


def test_trials_of_equal_length_fill_the_lanes_in_rounds() -> None:
    cost = estimate([make_arm(5, 8), make_arm(1, 8, "triplet")], scheduler(name="none"), 1, lanes(2, workers=3), 10.0)
    assert cost.epochs == Epochs(48, 48.0, 48)
    assert cost.wall_s == (3 * 8 + 8) * 10  # five on two lanes are three rounds; then the baseline, alone
    assert cost.device_hours == pytest.approx(48 * 10 * 3 / 3600)  # cores, one for each of three workers


def test_finals_begin_when_the_first_seeds_have_ended() -> None:
    arms = [make_arm(5, 8), make_arm(1, 8, "triplet")]
    finals = [Epochs(24, 24.0, 24), Epochs(8, 8.0, 8)]
    cost = estimate(arms, scheduler(name="none"), 1, lanes(2), 10.0, finals=finals)
    assert cost.epochs == Epochs(48 + 32, 80.0, 80)
    assert cost.wall_s == (3 * 8 + 2 * 8 + 8 + 8) * 10  # three seeds on two lanes are two rounds
    assert describe_epochs(cost) == "80; of these 32 for further seeds"


def test_a_lane_trains_its_longest_trial_however_many_lanes_there_are() -> None:
    config = scheduler(name="asha", grace_epochs=1, reduction_factor=4)
    cost = estimate([make_arm(4, 16)], config, 1, lanes(32, workers=1), 10.0)
    assert cost.wall_s == 160
    few = estimate([make_arm(40, 16)], config, 1, lanes(2, workers=1), 10.0)
    assert few.epochs.expected is not None
    assert few.wall_s == pytest.approx(few.epochs.expected / 2 * 10)


def test_hours_are_of_gpus_where_the_lanes_have_some() -> None:
    assert device_hours(lanes(1, workers=4, gpus=1), 1800) == 2.0
    assert device_hours(dataclasses.replace(lanes(1, workers=1, gpus=1), gpus_per_worker=0.5), 3600) == 0.5
    assert device_hours(lanes(1, workers=2), 3600) == 2.0


def test_what_is_done_already_costs_no_more() -> None:
    arms, config = [make_arm(10, 8)], scheduler(name="none")
    whole = estimate(arms, config, 1, lanes(), 10.0)
    half = estimate(arms, config, 1, lanes(), 10.0, epochs_done=40)
    assert whole.wall_s is not None
    assert whole.device_hours is not None
    assert half.epochs == whole.epochs
    assert (half.wall_s, half.device_hours) == (whole.wall_s / 2, whole.device_hours / 2)
    assert estimate(arms, config, 1, lanes(), 10.0, epochs_done=1000).wall_s == 0


def test_without_a_measurement_the_epochs_are_known_alone() -> None:
    cost = estimate([make_arm(10, 8)], scheduler(name="none"), 1, lanes(), None)
    assert (cost.epochs.most, cost.wall_s, cost.device_hours) == (80, None, None)


# ---- words


def test_epochs_in_words() -> None:
    def words(*epochs: Any, done: int = 0) -> str:
        return describe_epochs(Cost(Epochs(*epochs), None, None, done))

    assert words(340, 340.0, 340) == "340"
    assert words(40, 210.4, 1340) == "about 210, at most 1,340"
    assert words(40, None, 340, done=30) == "40 to 340; 30 are done"


def test_time_in_words_says_where_it_is_from() -> None:
    measured = MeasuredEpoch(2.13, "2026-11-20")
    cost = estimate([make_arm(34, 10)], scheduler(name="none"), 1, lanes(2, workers=2, gpus=1), measured.seconds)
    assert describe_time(cost, measured, lanes(2, gpus=1)) == (
        "about 6m and 0.4 GPU hours, at the 2.1 s an epoch measured on 2026-11-20"
    )
    bounds = estimate([make_arm(34, 10)], scheduler(name="median"), 1, lanes(), 2.13)
    assert describe_time(bounds, measured, lanes()).startswith("at most about 12m and 0.4 core hours, at ")
    going_on = estimate([make_arm(34, 10)], scheduler(name="none"), 1, lanes(), 2.13, epochs_done=170)
    assert describe_time(going_on, measured, lanes()).startswith("for the rest about 6m and 0.2 core hours, at ")
    assert describe_time(estimate([], scheduler(name="none"), 1, lanes(), None), None, lanes()) == (
        "told after the first steps: no earlier launch with this data, backbone, batch and workers"
    )


# ---- what was measured


def write_launch(storage: Path, launch: str, seconds: list[float], workers: int = 2, **trial: Any) -> Path:
    """Write the files that a launch leaves: its plan, and a journal of one trial."""
    from mdr_tune.records.journal import Journal

    device, gpus = trial.pop("device", "cpu"), trial.pop("gpus", "auto")
    folder = storage / "sweeps" / trial.pop("sweep", "earlier") / launch
    journal = Journal(folder, print)
    config = TrialConfig.model_validate(trial).model_dump()
    journal.write("session")
    journal.write("started", name="mdr-001", arm="mdr", number=0, seed_index=0, parameters={}, config=config)
    for epoch, time in enumerate(seconds, 1):
        journal.write("epoch", name="mdr-001", metrics={"epoch": float(epoch), "time/epoch_s": time}, device=device)
    journal.close()
    resources = {"workers_per_trial": workers, "gpus_per_worker": gpus}
    (folder / "plan.json").write_text(json.dumps({"sweep": {"resources": resources}}))
    return folder


def wanted(**trial: Any) -> SweepConfig:
    return SweepConfig.model_validate({"name": "new", "trial": trial})


def test_an_epoch_takes_what_it_took_in_the_newest_launch_with_such_trials(tmp_path: Path) -> None:
    write_launch(tmp_path, "2026-11-18_10-00-00-000", [9.0])
    write_launch(tmp_path, "2026-11-20_10-00-00-000", [3.0, 1.0], sweep="other", optimizer={"learning_rate": 1.0})
    write_launch(tmp_path, "2026-11-21_10-00-00-000", [100.0], workers=1)
    write_launch(tmp_path, "2026-11-22_10-00-00-000", [100.0], iterations_per_epoch=7)
    write_launch(tmp_path, "2026-11-23_10-00-00-000", [100.0], backbone={"name": "resnet18"})
    write_launch(tmp_path, "2026-11-24_10-00-00-000", [100.0], batch={"size": 16, "images_per_class": 4})
    write_launch(tmp_path, "2026-11-25_10-00-00-000", [100.0], device="NVIDIA H100")
    write_launch(tmp_path, "2026-11-26_10-00-00-000", [])
    assert measured_epoch(tmp_path, wanted(), lanes()) == MeasuredEpoch(2.0, "2026-11-20")
    assert measured_epoch(tmp_path, wanted(), lanes(gpus=1)) == MeasuredEpoch(100.0, "2026-11-25")
    assert measured_epoch(tmp_path, wanted(iterations_per_epoch=8), lanes()) is None
    shared = dataclasses.replace(lanes(gpus=1), gpus_per_worker=0.5)
    assert measured_epoch(tmp_path, wanted(), shared) is None
    write_launch(tmp_path, "2026-11-27_10-00-00-000", [70.0], device="NVIDIA H100", gpus=0.5)
    assert measured_epoch(tmp_path, wanted(), shared) == MeasuredEpoch(70.0, "2026-11-27")
    assert measured_epoch(tmp_path, wanted(), lanes(gpus=1)) == MeasuredEpoch(100.0, "2026-11-25")


def test_a_journal_of_another_version_is_passed_over(tmp_path: Path) -> None:
    write_launch(tmp_path, "2026-11-20_10-00-00-000", [2.0])
    broken = write_launch(tmp_path, "2026-11-21_10-00-00-000", [3.0])
    (broken / "journal.jsonl").write_text('{"event": "unheard of", "time": 1}\n')
    (write_launch(tmp_path, "2026-11-22_10-00-00-000", [3.0]) / "plan.json").write_text("{")
    assert measured_epoch(tmp_path, wanted(), lanes()) == MeasuredEpoch(2.0, "2026-11-20")


def test_without_any_launch_nothing_is_known(tmp_path: Path) -> None:
    assert measured_epoch(tmp_path, wanted(), lanes()) is None
