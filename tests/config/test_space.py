"""Domains, and the way from a sample to a trial and from a starting point to a sample."""

import pytest
from pydantic import ValidationError

from mdr_tune.config.arms import arms
from mdr_tune.config.space import encode_point, fixed, resolve, searched
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import LevelGrid, TrialConfig


def sweep(**space: object) -> SweepConfig:
    return SweepConfig.model_validate({"name": "x", "space": {k.replace("__", "."): v for k, v in space.items()}})


@pytest.mark.parametrize(
    ("grid", "levels"),
    [
        ({"count": 3, "spread": 3.0}, [-3.0, 0.0, 3.0]),
        ({"count": 1, "spread": 2.0, "offset": 0.5}, [0.5]),
        ({"count": 2, "spread": 1.0, "offset": 1.0}, [0.0, 2.0]),
        ({"count": 5, "spread": 4.0}, [-4.0, -2.0, 0.0, 2.0, 4.0]),
    ],
)
def test_level_grid(grid: dict[str, float], levels: list[float]) -> None:
    assert LevelGrid.model_validate(grid).values() == levels


def test_a_sample_becomes_a_trial() -> None:
    space = sweep(
        mdr__levels={"count": [2, 3], "spread": {"uniform": [1, 5]}}, mdr__weight={"loguniform": [0.01, 1]}
    ).space
    trial = resolve(TrialConfig(), space, {"mdr.levels.count": 3, "mdr.levels.spread": 2.0, "mdr.weight": 0.5})
    assert trial.mdr is not None
    assert trial.mdr.initial_levels() == [-2.0, 0.0, 2.0]
    assert trial.mdr.weight == 0.5
    assert trial.flat()["mdr.levels"] == [-2.0, 0.0, 2.0]


def test_single_values_are_not_drawn_but_set() -> None:
    space = sweep(mdr__levels={"count": 2, "spread": [2.0, 4.0]}).space
    assert set(searched(space)) == {"mdr.levels.spread"}
    assert fixed(space) == {"mdr.levels.count": 2, "mdr.levels.offset": 0.0}


def test_choices_that_are_lists_survive_the_way_through_optuna() -> None:
    space = sweep(mdr__levels={"choice": [[-3, 0, 3], [0]]}).space
    domain = searched(space)["mdr.levels"]
    stored = [domain.encode(value) for value in domain.choice or []]
    assert all(isinstance(value, str) for value in stored)
    trial = resolve(TrialConfig(), space, {"mdr.levels": stored[1]})
    assert trial.mdr is not None
    assert trial.mdr.initial_levels() == [0.0]


def test_a_starting_point_is_encoded() -> None:
    space = sweep(
        mdr__levels={"count": [2, 3], "spread": {"uniform": [1, 5]}}, mdr__weight={"loguniform": [0.01, 1]}
    ).space
    assert encode_point(space, {"mdr.levels": [-2, 0, 2], "mdr.weight": 0.1}) == {
        "mdr.levels.count": 3,
        "mdr.levels.spread": 2.0,
        "mdr.weight": 0.1,
    }


def test_a_starting_point_is_stored_as_the_file_writes_it() -> None:
    space = sweep(mdr__levels={"choice": [[-3, 0, 3], [0]]}).space
    domain = searched(space)["mdr.levels"]
    assert encode_point(space, {"mdr.levels": [-3.0, 0.0, 3.0]}) == {"mdr.levels": domain.encode([-3, 0, 3])}


def test_a_sample_that_makes_no_valid_trial_is_refused() -> None:
    space = sweep(mdr__weight={"uniform": [0, 1]}).space
    with pytest.raises(ValidationError):
        resolve(TrialConfig(), space, {"mdr.weight": -1.0})


def test_baselines_search_what_remains_with_the_same_budget() -> None:
    config = SweepConfig.model_validate(
        {
            "name": "x",
            "search": {"trials": 7},
            "space": {"mdr.weight": {"uniform": [0, 1]}, "loss.margin": {"uniform": [0.1, 0.5]}},
            "start_from": [{"mdr.weight": 0.1, "loss.margin": 0.2}, {"mdr.weight": 0.5, "loss.margin": 0.2}],
            "baselines": ["triplet", "triplet_l2"],
        }
    )
    main, triplet, triplet_l2 = arms(config)
    assert [arm.name for arm in (main, triplet, triplet_l2)] == ["mdr", "triplet", "triplet_l2"]
    assert [arm.trials for arm in (main, triplet, triplet_l2)] == [7, 7, 7]
    assert (triplet.trial.mdr, triplet.trial.embedding.mode) == (None, "rescale")
    assert (triplet_l2.trial.mdr, triplet_l2.trial.embedding.mode) == (None, "l2")
    assert set(triplet.space) == {"loss.margin"}
    assert triplet.start_from == ({"loss.margin": 0.2},)  # once, though two points share it


def test_a_baseline_with_nothing_to_search_is_one_trial() -> None:
    config = SweepConfig.model_validate(
        {"name": "x", "space": {"mdr.weight": {"uniform": [0, 1]}}, "baselines": ["triplet"]}
    )
    assert [arm.trials for arm in arms(config)] == [12, 1]
