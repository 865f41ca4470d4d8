"""Domains, and the way from a sample to a trial and from a starting point to a sample."""

import pytest
from pydantic import ValidationError

from mdr_tune.config.arms import arms
from mdr_tune.config.space import (
    decode_sample,
    describe_value,
    encode_point,
    fixed,
    grid_points,
    resolve,
    searched,
    section_variants,
)
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
    trial = resolve(TrialConfig(), space, decode_sample(space, {"mdr.levels": stored[1]}))
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
    assert (triplet.trial.mdr, triplet.trial.embedding_mode) == (None, "rescale")
    assert (triplet_l2.trial.mdr, triplet_l2.trial.embedding.mode) == (None, "l2")
    assert set(triplet.space) == {"loss.margin"}
    assert triplet.start_from == ({"loss.margin": 0.2},)  # once, though two points share it


def test_a_baseline_with_nothing_to_search_is_one_trial() -> None:
    config = SweepConfig.model_validate(
        {"name": "x", "space": {"mdr.weight": {"uniform": [0, 1]}}, "baselines": ["triplet"]}
    )
    assert [arm.trials for arm in arms(config)] == [12, 1]


def test_a_section_is_searched_as_a_whole() -> None:
    space = sweep(
        loss={"choice": ["arcface", {"name": "contrastive", "neg_margin": 0.5}]}, mdr=[None, {"weight": 0.3}]
    ).space
    points = grid_points(space)
    trials = [resolve(TrialConfig(), space, decode_sample(space, point)) for point in points]
    assert [(t.loss.name, t.mdr and t.mdr.weight, t.embedding_mode) for t in trials] == [
        ("arcface", None, "l2"),
        ("arcface", 0.3, "l2"),
        ("contrastive", None, "rescale"),
        ("contrastive", 0.3, "rescale"),
    ]
    assert trials[2].flat()["loss.neg_margin"] == 0.5


def test_a_grid_is_every_combination_once() -> None:
    space = sweep(epochs={"int": [2, 4]}, mdr__weight=[0.1, 0.2], loss__margin=0.3).space
    assert grid_points(space) == [{"epochs": e, "mdr.weight": w} for e in (2, 3, 4) for w in (0.1, 0.2)]
    with pytest.raises(ValueError, match=r"mdr.weight: a grid needs values, \{choice: \[...\]\}, not the range 0 to 1"):
        grid_points(sweep(mdr__weight={"uniform": [0, 1]}).space)
    config = SweepConfig.model_validate(
        {
            "name": "x",
            "search": {"sampler": "grid"},
            "space": {"mdr.weight": [0.1, 0.2, 0.3], "loss.margin": [0.1, 0.2]},
            "baselines": ["triplet"],
        }
    )
    assert [arm.trials for arm in arms(config)] == [6, 2]  # of the baseline only the margin is left


def test_the_variants_of_a_section() -> None:
    space = sweep(backbone__name=["conv4", "resnet18"], backbone__weights=["none"]).space
    variants = section_variants(TrialConfig(), space, "backbone")
    assert [(v.name, v.weights) for v in variants] == [("conv4", "none"), ("resnet18", "none")]
    assert section_variants(TrialConfig(), space, "data") == [TrialConfig().data]


def test_an_angular_loss_has_one_baseline() -> None:
    trial = {"loss": "proxy_anchor"}
    config = SweepConfig.model_validate({"name": "x", "trial": trial, "baselines": ["proxy_anchor"]})
    assert [(arm.name, arm.trial.embedding_mode) for arm in arms(config)] == [("mdr", "l2"), ("proxy_anchor", "l2")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        ("triplet", "triplet"),
        ({"name": "triplet", "margin": 0.2}, "triplet margin 0.2"),
        ({"weight": 0.123456, "levels": [0]}, "weight 0.123 levels [0]"),
    ],
)
def test_values_in_short(value: object, text: str) -> None:
    assert describe_value(value) == text
