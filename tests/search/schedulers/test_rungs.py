"""HyperBand and PBT against loops over the same curves: any number of lanes, any order of events, ties, losses."""

import random
from typing import Any

import pytest

from mdr_tune.config.schedulers import Scheduler
from mdr_tune.config.strict_model import members
from tests.search.schedulers.cases import METRIC, SEED, config_of, names_of, random_gains, scheduler_of
from tests.search.schedulers.naive import Curves, naive_hyperband, naive_pbt, values
from tests.search.schedulers.tune_by_hand import TuneByHand

HYPERBAND = {"name": "hyperband", "reduction_factor": 3}
PBT = {"name": "pbt", "interval_epochs": 2, "perturb": ["mdr.weight"]}


WAYS = ("step", "save", "start")


def places(gains: Curves, chosen: random.Random) -> list[tuple[str, int, str]]:
    """Draw places at which processes are lost."""
    every = [(n, e, when) for n, curve in gains.items() for e in range(1, len(curve) + 1) for when in WAYS]
    return chosen.sample(every, k=len(every) // 4)


@pytest.mark.parametrize("number", range(60))
def test_hyperband_is_the_papers_loop(number: int) -> None:
    draw = random.Random(number)
    trials, lanes, max_epochs, eta = (
        draw.randint(1, 25),
        draw.randint(1, 4),
        draw.randint(1, 12),
        draw.choice([2, 3, 4]),
    )
    gains = random_gains(trials, max_epochs, draw, ties=draw.random() < 0.5)
    fails_in = {name: draw.randint(1, max_epochs) for name in gains if draw.random() < 0.15}
    lost = places(gains, draw) if draw.random() < 0.5 else []
    scheduler = scheduler_of({"name": "hyperband", "reduction_factor": eta}, trials, lanes, max_epochs)
    configs = {name: config_of(curve, fails_in=fails_in.get(name)) for name, curve in gains.items()}
    found = TuneByHand(scheduler, configs, lanes, draw, lost).run()
    epochs = naive_hyperband(gains, fails_in, max_epochs, eta)
    assert found == {name: values(gains[name])[: epochs[name]] for name in gains}


def test_hyperband_of_nine_epochs() -> None:
    # The table of the paper for R = 9, eta = 3: brackets of 9, 5 and 3 trials from 1, 3 and 9 epochs on.
    gains = {name: [float(i)] * 9 for i, name in enumerate(names_of(17))}
    configs = {name: config_of(curve) for name, curve in gains.items()}
    found = TuneByHand(scheduler_of(HYPERBAND, 17, 2, 9), configs, 2, random.Random(0)).run()
    assert [len(curve) for curve in found.values()] == [1] * 6 + [3, 3, 9] + [3] * 4 + [9] + [9] * 3


def test_hyperband_does_not_wait_for_trials_that_do_not_come() -> None:
    gains = {name: [float(i)] * 9 for i, name in enumerate(names_of(4))}
    configs = {name: config_of(curve) for name, curve in gains.items()}
    found = TuneByHand(scheduler_of(HYPERBAND, 9, 1, 9), configs, 1, random.Random(0)).run()
    assert [len(curve) for curve in found.values()] == [1, 1, 1, 9]


def test_a_further_seed_is_neither_paused_nor_counted() -> None:
    gains = random_gains(9, 9, random.Random(1))
    configs = {name: config_of(curve) for name, curve in gains.items()}
    seed = {"mdr-001.2": config_of([9.0] * 9, exempt=True)}
    found = TuneByHand(scheduler_of(HYPERBAND, 9, 2, 9), {**seed, **configs}, 2, random.Random(0)).run()
    assert len(found.pop("mdr-001.2")) == 9
    assert {name: len(curve) for name, curve in found.items()} == naive_hyperband(gains, {}, 9, 3)


@pytest.mark.parametrize("number", range(60))
def test_pbt_is_the_papers_loop(number: int) -> None:
    draw = random.Random(number)
    trials, lanes, max_epochs, interval = draw.randint(1, 9), draw.randint(1, 3), draw.randint(1, 9), draw.randint(1, 3)
    gains = random_gains(trials, max_epochs, draw, ties=draw.random() < 0.3)
    weights = {name: draw.uniform(0.1, 1) for name in gains}
    fails_in = {name: draw.randint(1, max_epochs) for name in gains if draw.random() < 0.15}
    lost = places(gains, draw) if draw.random() < 0.5 else []
    changes: list[Any] = []
    config = {**PBT, "interval_epochs": interval}
    scheduler = scheduler_of(config, trials, lanes, max_epochs, lambda *change: changes.append(change))
    configs = {name: config_of(gains[name], weights[name], fails_in=fails_in.get(name)) for name in gains}
    state = random.getstate()
    found = TuneByHand(scheduler, configs, lanes, draw, lost).run()
    assert random.getstate() == state
    assert (found, changes) == naive_pbt(gains, weights, fails_in, max_epochs, interval, SEED)


@pytest.mark.parametrize("config", [HYPERBAND, PBT], ids=["hyperband", "pbt"])
def test_an_extended_search_decides_of_its_first_trials_as_it_did(config: dict[str, Any]) -> None:
    gains = random_gains(20, 9, random.Random(2))
    configs = {name: config_of(curve) for name, curve in gains.items()}
    first = dict(list(configs.items())[:11])
    changes: list[Any] = []
    tell = lambda *change: changes.append(change)  # noqa: E731
    before = TuneByHand(scheduler_of(config, 11, 2, 9, tell), first, 2, random.Random(0)).run()
    changes_before = changes.copy()
    changes.clear()
    scheduler = scheduler_of(config, 20, 2, 9, tell, earlier=(11,))
    after = TuneByHand(scheduler, configs, 2, random.Random(0)).run()
    assert {name: after[name] for name in first} == before
    assert [change for change in changes if change[0] in first] == changes_before
    assert all((source in first) == (name in first) for name, _, source, _ in changes)


@pytest.mark.parametrize("name", members(Scheduler))
def test_every_scheduler_can_be_made_and_told(name: str) -> None:
    assert scheduler_of({"name": name}, 4, 2, 4).metric == METRIC
    assert members(Scheduler)[name].model_validate({"name": name}).describe()
