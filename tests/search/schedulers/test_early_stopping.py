"""ASHA and median stopping against loops over the same reports; replayed, lost, failed and exempt trials."""

import math
import random
from typing import Any

import numpy as np
import pytest
from ray.tune.experiment import Trial

from mdr_tune.search.schedulers import replay
from tests.search.schedulers.cases import METRIC, config_of, random_gains, scheduler_of
from tests.search.schedulers.naive import Curves, naive_asha, naive_median
from tests.search.schedulers.tune_by_hand import TuneByHand

ASHA = {"name": "asha", "grace_epochs": 1, "reduction_factor": 2}
MEDIAN = {"name": "median", "grace_epochs": 2, "min_trials": 3}
EPOCHS = 8


def naive(config: dict[str, Any], reports: list[tuple[str, int, float]]) -> set[str]:
    if config["name"] == "asha":
        return naive_asha(reports, EPOCHS, config["grace_epochs"], config["reduction_factor"])
    return naive_median(reports, EPOCHS, config["grace_epochs"], config["min_trials"])


def configs_of(gains: Curves, fails_in: dict[str, int]) -> dict[str, dict[str, Any]]:
    return {name: config_of(curve, fails_in=fails_in.get(name)) for name, curve in gains.items()}


@pytest.mark.parametrize("config", [ASHA, MEDIAN], ids=["asha", "median"])
@pytest.mark.parametrize("number", range(30))
def test_stops_those_that_the_rule_stops(config: dict[str, Any], number: int) -> None:
    draw = random.Random(number)
    gains = random_gains(draw.randint(1, 14), EPOCHS, draw)
    fails_in = {name: draw.randint(1, EPOCHS) for name in gains if draw.random() < 0.2}
    lanes, state = draw.randint(1, 3), np.random.get_state()[1].tolist()
    by_hand = TuneByHand(scheduler_of(config, 14, lanes, EPOCHS), configs_of(gains, fails_in), lanes, draw)
    by_hand.run()
    assert by_hand.stopped == naive(config, by_hand.reports)
    assert np.random.get_state()[1].tolist() == state


@pytest.mark.parametrize("config", [ASHA, MEDIAN], ids=["asha", "median"])
def test_a_lost_process_changes_nothing(config: dict[str, Any]) -> None:
    for number in range(20):
        draw = random.Random(number)
        gains = random_gains(10, EPOCHS, draw)
        lost = [(name, epoch, "step") for name in gains for epoch in range(1, EPOCHS + 1) if draw.random() < 0.2]
        found = [
            TuneByHand(scheduler_of(config, 10, 1, EPOCHS), configs_of(gains, {}), 1, draw, places).run()
            for places in ([], lost)
        ]
        assert found[0] == found[1]


@pytest.mark.parametrize("config", [ASHA, MEDIAN], ids=["asha", "median"])
def test_replayed_it_goes_on_as_if_it_had_been_there(config: dict[str, Any]) -> None:
    for number in range(20):
        gains = random_gains(12, EPOCHS, random.Random(number))
        live = TuneByHand(scheduler_of(config, 12, 1, EPOCHS), configs_of(gains, {}), 1, random.Random(0))
        lengths = {name: len(curve) for name, curve in live.run().items()}
        cut = random.Random(number).randint(1, len(live.reports) - 1)
        past = [(name, epoch, value, epoch == lengths[name]) for name, epoch, value in live.reports[:cut]]
        again = scheduler_of(config, 12, 1, EPOCHS)
        assert replay(again, past) == set()
        for name, epoch, value in live.reports[cut:]:
            trial = Trial("any", trial_id=name, stub=True)
            again.on_trial_add(None, trial)
            result = {"epoch": epoch, METRIC: value}
            if epoch == EPOCHS:
                again.on_trial_complete(None, trial, result)
            else:
                assert (again.on_trial_result(None, trial, result) == "STOP") == (epoch == lengths[name])


def test_replay_names_those_that_were_to_be_stopped() -> None:
    reports = [("a", 1, 60.0, False), ("b", 1, 50.0, False), ("c", 1, 40.0, True), ("d", 1, math.nan, False)]
    assert replay(scheduler_of(ASHA, 9, 1, EPOCHS), reports) == {"b"}


def decisions(scheduler: Any, *reports: tuple[str, int, float]) -> list[str]:
    trials = {name: Trial("any", trial_id=name, stub=True) for name, _, _ in reports}
    for trial in trials.values():
        scheduler.on_trial_add(None, trial)
    return [scheduler.on_trial_result(None, trials[n], {"epoch": e, METRIC: value}) for n, e, value in reports]


def test_asha_keeps_one_of_so_many() -> None:
    recalls = [10.0, 20.0, 30.0, 40.0, 24.0, 33.0]  # of the first five, the upper quarter begins at 30
    scheduler = scheduler_of({"name": "asha", "grace_epochs": 1, "reduction_factor": 4}, 6, 1, EPOCHS)
    found = decisions(scheduler, *[(str(i), 1, recall) for i, recall in enumerate(recalls)])
    assert found == ["CONTINUE", "CONTINUE", "CONTINUE", "CONTINUE", "STOP", "CONTINUE"]


def test_the_last_epoch_of_a_stopped_trial_counts_once() -> None:
    scheduler = scheduler_of({"name": "median", "min_trials": 1}, 3, 1, EPOCHS)
    assert decisions(scheduler, ("a", 1, 10.0), ("a", 2, 100.0), ("b", 1, 20.0), ("b", 2, 40.0))[-1] == "STOP"
    for last in ({"epoch": 2, METRIC: 40.0}, {"failure": {"kind": "failed", "text": "no"}}):
        scheduler.on_trial_complete(None, Trial("any", trial_id="b", stub=True), last)
    # The means are 55 and 30, the median is 42.5; were 40 counted twice, it would be 44.2.
    assert decisions(scheduler, ("c", 1, 43.0), ("c", 2, 43.0)) == ["CONTINUE", "CONTINUE"]


def test_grace_epochs_beyond_the_end_stop_nothing() -> None:
    scheduler = scheduler_of({"name": "asha", "grace_epochs": 20, "reduction_factor": 2}, 6, 1, EPOCHS)
    assert decisions(scheduler, ("a", 7, 60.0), ("b", 7, 1.0)) == ["CONTINUE", "CONTINUE"]


def test_a_repeated_epoch_has_its_first_answer() -> None:
    scheduler = scheduler_of(ASHA, 6, 1, EPOCHS)
    reports = [("a", 2, 60.0), ("b", 2, 50.0), ("b", 1, 99.0), ("b", 2, 99.0), ("c", 1, 10.0)]
    found = decisions(scheduler, *reports)  # had the 99 at the first rung counted, c would be stopped
    assert found == ["CONTINUE", "STOP", "CONTINUE", "STOP", "CONTINUE"]


@pytest.mark.parametrize("config", [ASHA, MEDIAN], ids=["asha", "median"])
def test_a_further_seed_is_neither_stopped_nor_counted(config: dict[str, Any]) -> None:
    gains = random_gains(8, EPOCHS, random.Random(3))
    seeds = {f"mdr-001.{index}": config_of([low] * EPOCHS, exempt=True) for index, low in enumerate((0.0, 99.0), 2)}
    with_seeds, without = (
        TuneByHand(scheduler_of(config, 8, 1, EPOCHS), {**extra, **configs_of(gains, {})}, 1, random.Random(0)).run()
        for extra in (seeds, {})
    )
    assert [len(with_seeds.pop(name)) for name in seeds] == [EPOCHS, EPOCHS]
    assert with_seeds == without


def test_without_a_scheduler_nothing_is_stopped() -> None:
    gains = random_gains(5, EPOCHS, random.Random(0))
    found = TuneByHand(scheduler_of("none", 5, 2, EPOCHS), configs_of(gains, {}), 2, random.Random(0)).run()
    assert [len(curve) for curve in found.values()] == [EPOCHS] * 5


@pytest.mark.parametrize("mode", ["min", None])
def test_only_maximises(mode: str | None) -> None:
    assert not scheduler_of(ASHA, 6, 1, EPOCHS).set_search_properties(METRIC, mode)
