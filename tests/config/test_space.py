"""Domains, and the way from a sample to a trial."""

from typing import Any

import pytest
from pydantic import ValidationError

from mdr_tune.config.arms import arms
from mdr_tune.config.configurations import configuration_key
from mdr_tune.config.domains import Domain, Space, describe_value
from mdr_tune.config.points import encode_point
from mdr_tune.config.space import (
    choice_combinations,
    choice_labels,
    draw,
    fixed,
    grid_points,
    is_conditional,
    parameter_tree,
    resolve,
    searched,
    section_variants,
)
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import LevelGrid, MemoryConfig, TrialConfig


def sweep(**space: object) -> SweepConfig:
    return SweepConfig.model_validate({"name": "x", "space": {k.replace("__", "."): v for k, v in space.items()}})


def drawn(space: Space, stored: dict[str, Any]) -> dict[str, Any]:
    """What records have of a sample that a study stores so."""
    return draw(parameter_tree(space), lambda parameter: stored[parameter.name])


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
    points = grid_points(space)
    assert points == [{"mdr.levels": "[-3, 0, 3]"}, {"mdr.levels": "[0]"}]
    assert drawn(space, points[1]) == {"mdr.levels": [0]}
    trial = resolve(TrialConfig(), space, drawn(space, points[1]))
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
    assert encode_point(space, {"mdr.levels": [-3.0, 0.0, 3.0]}) == {"mdr.levels": "[-3, 0, 3]"}


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
    trials = [resolve(TrialConfig(), space, drawn(space, point)) for point in points]
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


CONDITIONAL: dict[str, Any] = {
    "loss": [
        {"name": "triplet", "margin": {"uniform": [0.05, 0.5]}},
        {"name": "arcface", "scale": {"loguniform": [8, 64]}, "margin": {"int": [10, 40]}},
        "contrastive",
    ],
    "mdr": [
        None,
        {
            "weight": {"loguniform": [0.01, 1]},
            "levels": {"count": [2, 3], "spread": {"uniform": [1, 5]}, "offset": 0.5},
        },
    ],
}


def test_what_is_inside_of_a_choice_is_searched_with_it() -> None:
    space = sweep(**CONDITIONAL).space
    assert list(searched(space)) == [
        "loss",
        "loss[triplet].margin",
        "loss[arcface].scale",
        "loss[arcface].margin",
        "mdr",
        "mdr[on].weight",
        "mdr[on].levels.count",
        "mdr[on].levels.spread",
    ]
    assert is_conditional(space)
    assert not is_conditional(sweep(loss=["triplet", "arcface"], mdr__levels={"count": 3, "spread": [1, 2]}).space)


def test_a_sample_has_the_parameters_of_its_choices_only() -> None:
    space = sweep(**CONDITIONAL).space
    stored = {
        "loss": "arcface",
        "loss[triplet].margin": 0.3,
        "loss[arcface].scale": 16.0,
        "loss[arcface].margin": 20,
        "mdr": "on",
        "mdr[on].weight": 0.5,
        "mdr[on].levels.count": 3,
        "mdr[on].levels.spread": 2.0,
    }
    sample = drawn(space, stored)
    assert sample == {
        "loss": "arcface",
        "loss.scale": 16.0,
        "loss.margin": 20,
        "mdr": "on",
        "mdr.weight": 0.5,
        "mdr.levels.count": 3,
        "mdr.levels.spread": 2.0,
    }
    trial = resolve(TrialConfig(), space, sample)
    assert trial.loss.model_dump() == {"name": "arcface", "scale": 16.0, "margin": 20.0}
    assert trial.mdr is not None
    assert (trial.mdr.weight, trial.mdr.initial_levels()) == (0.5, [-1.5, 0.5, 2.5])
    assert drawn(space, {"loss": "contrastive", "mdr": None}) == {"loss": "contrastive", "mdr": None}
    assert resolve(TrialConfig(), space, {"loss": "contrastive", "mdr": None}).mdr is None
    assert space == sweep(**CONDITIONAL).space  # nothing was written into the space itself


def test_a_space_survives_being_stored() -> None:
    config = sweep(**CONDITIONAL)
    again = SweepConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert searched(again.space) == searched(config.space)


def test_a_choice_inside_of_a_choice() -> None:
    schedules = [{"name": "cosine", "warmup_epochs": {"int": [1, 2]}}, "multi_step"]
    sgd = {"name": "sgd", "momentum": [0.5, 0.9]}
    space = sweep(optimizer=[sgd, {"name": "adam", "schedule": {"choice": schedules}}]).space
    tree = parameter_tree(space)
    assert list(searched(space)) == [
        "optimizer",
        "optimizer[adam].schedule",
        "optimizer[adam].schedule[cosine].warmup_epochs",
    ]  # a list inside of a choice is a value, as in levels: [-3, 0, 3]
    assert tree[0].branches[0].value == sgd
    sample = {"optimizer": "adam", "optimizer.schedule": "cosine", "optimizer.schedule.warmup_epochs": 2}
    trial = resolve(TrialConfig(), space, sample)
    assert trial.optimizer.schedule.model_dump() == {"name": "cosine", "warmup_epochs": 2.0}


def test_a_grid_has_each_branch_s_own_combinations() -> None:
    space = sweep(
        loss=[
            {"name": "triplet", "margin": {"choice": [0.1, 0.2]}},
            {"name": "arcface", "scale": {"int": [8, 9]}, "margin": 20.0},
            "contrastive",
        ],
        mdr=[None, {"weight": {"choice": [0.1, 0.2]}}],
    ).space
    points = grid_points(space)
    assert len(points) == (2 + 2 + 1) * (1 + 2)
    samples = [drawn(space, point) for point in points]
    assert samples[0] == {"loss": "triplet", "loss.margin": 0.1, "mdr": None}
    assert samples[-1] == {"loss": "contrastive", "mdr": "on", "mdr.weight": 0.2}
    trials = [resolve(TrialConfig(), space, sample) for sample in samples]
    assert len({trial.model_dump_json() for trial in trials}) == len(points)
    assert choice_combinations(space, 15) is not None
    assert choice_combinations(space, 11) is None  # 4 of the losses, an int being no choice, times 3
    with pytest.raises(ValueError, match=r"loss.margin: a grid needs values"):
        grid_points(sweep(**CONDITIONAL).space)


def test_the_variants_of_a_section_have_the_ends_of_ranges_inside_of_it() -> None:
    space = sweep(batch=[{"size": {"int": [16, 32]}}, {"size": 64, "images_per_class": 2}]).space
    sizes = [(batch.size, batch.images_per_class) for batch in section_variants(TrialConfig(), space, "batch")]
    assert sizes == [(16, 4), (32, 4), (64, 2)]


@pytest.mark.parametrize(
    ("choices", "labels"),
    [
        (["triplet", {"name": "arcface", "scale": 8.0}], ["triplet", "arcface"]),
        (["triplet", {"name": "triplet", "margin": 0.3}], ["triplet", "triplet margin 0.3"]),
        ([None, {"weight": 0.3}], [None, "weight 0.3"]),
        ([None, {"weight": {"uniform": [0, 1]}}], [None, "on"]),
        (
            [{"weight": {"uniform": [0, 1]}}, {"weight": {"uniform": [2, 3]}}],
            ["weight (0 to 1)", "weight (2 to 3)"],
        ),
        ([{"weight": 0.30001}, {"weight": 0.30002}], ["weight 0.30001", "weight 0.30002"]),
        ([[-3, 0, 3], [0]], [[-3, 0, 3], [0]]),
        ([64, True], [64, True]),
    ],
)
def test_choices_are_named_as_shortly_as_tells_them_apart(choices: list[Any], labels: list[Any]) -> None:
    assert choice_labels(choices) == labels


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        ({"uniform": [1, 2]}, [1, 1.5, 2.0], [0.99, True, "1", None]),
        ({"int": [1, 3]}, [1, 3, 2.0], [0, 2.5, 4, True]),
        ({"choice": [1, None, "a"]}, [1, None, "a"], [2, "b"]),
    ],
)
def test_what_a_domain_contains(domain: dict[str, Any], inside: list[Any], outside: list[Any]) -> None:
    found = Domain.model_validate(domain)
    assert [value for value in [*inside, *outside] if found.contains(value)] == inside


def test_a_conditional_choice_is_described_with_its_ranges() -> None:
    space = sweep(loss=[{"name": "triplet", "margin": {"uniform": [0.05, 0.5]}}, "contrastive"], mdr=CONDITIONAL["mdr"])
    assert space.space["loss"].describe() == "one of triplet margin (0.05 to 0.5), contrastive"
    levels = "levels (count one of 2, 3, spread 1 to 5, offset one of 0.5)"
    assert space.space["mdr"].describe() == f"one of none, weight (0.01 to 1, log scale) {levels}"


def test_choices_equal_to_three_digits_are_told_apart() -> None:
    labels = choice_labels([None, {"weight": 0.1}, {"weight": 0.1000001}, {"weight": 0.25}])
    assert labels == [None, "weight 0.1", "weight 0.1000001", "weight 0.25"]
    assert choice_labels([{"weight": 1}, {"weight": "1"}]) == ["1: weight 1", "2: weight 1"]
    domain = sweep(mdr__weight=[0.1, 0.1000001]).space["mdr.weight"]
    assert domain.describe() == "one of 0.1, 0.1000001"


def test_a_memory_is_searched_as_a_whole_or_by_key() -> None:
    whole = sweep(memory=[None, {"size": {"int": [128, 4096]}}]).space
    assert resolve(TrialConfig(), whole, {"memory": None}).memory is None
    assert resolve(TrialConfig(), whole, {"memory": "on", "memory.size": 300}).memory == MemoryConfig(size=300)
    base = TrialConfig(memory=MemoryConfig(start_epoch=2.0))
    by_key = resolve(base, sweep(**{"memory.size": {"int": [128, 4096]}}).space, {"memory.size": 300})
    assert by_key.memory == MemoryConfig(size=300, start_epoch=2.0)
    unused = {"memory": {"start_epoch": 9.0}}
    assert configuration_key(TrialConfig.from_keys(unused)) == configuration_key(TrialConfig())
    assert "memory" not in TrialConfig().flat()
