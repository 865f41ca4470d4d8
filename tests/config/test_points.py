"""Points to start from: as a user writes them, and as another sweep's trial has them."""

import re
from typing import Any

import pytest

from mdr_tune.config.arms import arms
from mdr_tune.config.domains import Space
from mdr_tune.config.points import encode_point, point_of_trial
from mdr_tune.config.space import draw, grid_points, parameter_tree, resolve
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig

CONDITIONAL: dict[str, Any] = {
    "loss": [
        {"name": "triplet", "margin": {"uniform": [0.05, 0.5]}},
        {"name": "arcface", "scale": {"loguniform": [8, 64]}},
        "contrastive",
    ],
    "mdr": [None, {"weight": {"loguniform": [0.01, 1]}, "levels": {"count": [2, 3], "spread": {"uniform": [1, 5]}}}],
}


def space_of(space: dict[str, Any]) -> Space:
    return SweepConfig.model_validate({"name": "x", "space": space}).space


@pytest.mark.parametrize(
    ("point", "encoded"),
    [
        ({"loss": "triplet", "loss.margin": 0.2}, {"loss": "triplet", "loss[triplet].margin": 0.2}),
        ({"loss": {"name": "triplet", "margin": 0.2}}, {"loss": "triplet", "loss[triplet].margin": 0.2}),
        ({"loss": {"name": "arcface"}}, {"loss": "arcface"}),
        ({"loss": "contrastive", "mdr": None}, {"loss": "contrastive", "mdr": None}),
        (
            {"mdr": {"weight": 0.1, "levels": [-2, 0, 2]}},
            {"mdr": "on", "mdr[on].weight": 0.1, "mdr[on].levels.count": 3, "mdr[on].levels.spread": 2.0},
        ),
        (
            {"mdr": "on", "mdr.levels": {"count": 2, "spread": 1.1}},
            {"mdr": "on", "mdr[on].levels.count": 2, "mdr[on].levels.spread": 1.1},
        ),
        ({"mdr": "on", "mdr.levels.count": 2}, {"mdr": "on", "mdr[on].levels.count": 2}),
    ],
)
def test_a_point_names_a_choice_and_what_is_inside(point: dict[str, Any], encoded: dict[str, Any]) -> None:
    assert encode_point(space_of(CONDITIONAL), point) == encoded


@pytest.mark.parametrize(
    ("point", "what"),
    [
        (
            {"loss": "tripled"},
            "loss: tripled cannot be drawn: the space has one of triplet margin (0.05 to 0.5)",
        ),
        ({"loss": "triplet", "loss.margin": 0.6}, "loss.margin: 0.6 cannot be drawn: the space has 0.05 to 0.5"),
        ({"loss": {"name": "triplet", "margin": 0.6}}, "loss.margin: 0.6 cannot be drawn: the space has 0.05 to 0.5"),
        ({"loss": {"name": "triplet", "margn": 0.2}}, "loss: triplet margn 0.2 cannot be drawn"),
        ({"loss.margin": 0.2}, "loss.margin exists only where its choice is taken: name that choice beside it"),
        ({"loss": "arcface", "loss.margin": 0.2}, "loss.margin exists only where its choice is taken"),
        ({"mdr": "on", "mdr.levels": [-3, 0, 1]}, "not evenly spaced"),
        ({"mdr": "on", "mdr.levels": {"count": 99}}, "mdr.levels.count: must be less than or equal to 64, got 99"),
        ({"batch.size": 32}, "batch.size is not searched: it is none of loss, mdr"),
        ({"levels": [0]}, "levels is not searched: it is none of loss, mdr. Did you mean mdr.levels?"),
    ],
)
def test_a_point_that_is_none_says_why(point: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=re.escape(what)):
        encode_point(space_of(CONDITIONAL), point)


def test_the_point_of_a_trial_leads_back_to_it() -> None:
    space = space_of(
        {
            "loss": [{"name": "triplet", "margin": {"choice": [0.1, 0.2]}}, {"name": "arcface", "scale": 16.0}],
            "mdr": [None, {"weight": {"choice": [0.1, 0.2]}, "levels": {"count": [2, 3], "spread": [1.0, 2.5]}}],
            "batch.size": [32, 64],
            "embedding.size": {"int": [16, 17]},
        }
    )
    for stored in grid_points(space):
        sample = draw(parameter_tree(space), lambda parameter, stored=stored: stored[parameter.name])
        trial = resolve(TrialConfig(), space, sample)
        point, missing = point_of_trial(space, trial)
        assert (point, missing) == (sample, [])
        assert encode_point(space, point) == stored


def test_what_the_space_cannot_draw_is_left_out_and_said() -> None:
    trial = TrialConfig.model_validate(
        {
            "loss": {"name": "triplet", "margin": 0.9},
            "mdr": {"weight": 0.2, "levels": [-3, 0, 1]},
            "batch": {"size": 99},
        }
    )
    space = space_of(
        {
            "loss.margin": {"uniform": [0.1, 0.5]},
            "mdr.weight": {"uniform": [0.1, 0.5]},
            "mdr.levels": {"count": [2, 3], "spread": {"uniform": [1, 5]}},
            "batch.size": [32, 64],
        }
    )
    point, missing = point_of_trial(space, trial)
    assert point == {"mdr.weight": 0.2}
    assert missing == ["loss.margin 0.9", "mdr.levels [-3.0, 0.0, 1.0]", "batch.size 99"]
    assert point_of_trial(space_of({"loss": ["arcface", "contrastive"]}), trial) == ({}, ["loss triplet"])
    assert point_of_trial(space, TrialConfig(mdr=None))[1] == ["mdr.weight none", "mdr.levels none", "batch.size 128"]


def test_a_baseline_starts_from_what_is_left_of_a_point() -> None:
    config = SweepConfig.model_validate(
        {
            "name": "x",
            "space": {
                "mdr.weight": {"uniform": [0, 1]},
                "miner": ["all", {"name": "semi_hard", "margin": {"uniform": [0.1, 0.3]}}],
            },
            "start_from": [{"mdr.weight": 0.1, "miner": "semi_hard", "miner.margin": 0.2}, {"mdr.weight": 0.3}, {}],
            "baselines": ["triplet"],
        }
    )
    main, baseline = arms(config)
    assert main.start_from == (
        {"mdr.weight": 0.1, "miner": "semi_hard", "miner[semi_hard].margin": 0.2},
        {"mdr.weight": 0.3},
    )
    assert baseline.start_from == ({"miner": "semi_hard", "miner[semi_hard].margin": 0.2},)
