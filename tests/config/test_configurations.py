"""Different configurations: when two trials are one, how many a space has, and what that makes of an arm's trials."""

from typing import Any

import pytest

from mdr_tune.config.arms import arms, repeated_points
from mdr_tune.config.configurations import configuration_key, listed_configurations, num_configurations
from mdr_tune.config.space import apply_settings
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig

FEW = {"mdr.weight": [0.1, 0.2, 0.3]}


def sweep_of(space: dict[str, Any], **changes: Any) -> SweepConfig:
    return SweepConfig.model_validate({"name": "x", "space": space, **changes})


@pytest.mark.parametrize(
    ("space", "number"),
    [
        ({}, 1),
        (FEW, 3),
        ({**FEW, "batch.images_per_class": {"int": [2, 5]}}, 12),
        ({"loss": ["triplet", {"name": "arcface", "scale": {"choice": [8.0, 16.0]}}]}, 3),
        ({"mdr": [None, {"weight": {"uniform": [0, 1]}}]}, None),
        ({"mdr.weight": {"loguniform": [0.01, 1]}}, None),
        ({"mdr.levels": {"count": [1, 2], "spread": [1, 2, 3]}}, 4),  # one level has no spread
        ({"embedding.mode": ["auto", "rescale", "none"]}, 2),  # auto is rescale for triplet
        ({"seed": {"int": [0, 4]}}, 5),
        ({"epochs": {"int": [1, 5000]}, **FEW}, 15000),  # counted, not listed
    ],
)
def test_how_many_there_are(space: dict[str, Any], number: int | None) -> None:
    assert num_configurations(TrialConfig(), sweep_of(space).space) == number


def test_the_key_tells_apart_what_is_trained_otherwise() -> None:
    changes: list[dict[str, Any]] = [{"mdr.weight": 0.1000001}, {"seed": 1}, {"epochs": 9}, {"mdr": None}]
    trials = [TrialConfig(), *(apply_settings(TrialConfig(), change) for change in changes)]
    assert len(set(map(configuration_key, trials))) == 5
    as_grid = apply_settings(TrialConfig(), {"mdr.levels": {"count": 3, "spread": 3.0}})
    assert configuration_key(as_grid) == configuration_key(TrialConfig())


SGD = {"optimizer.name": "sgd"}
STEPS = "optimizer.schedule.milestones"
MARGIN = {"loss": {"name": "margin"}}


@pytest.mark.parametrize(
    ("base", "one", "other"),
    [
        ({}, {"optimizer.head_learning_rate": None}, {"optimizer.head_learning_rate": 1e-3}),
        ({}, {"optimizer.loss_learning_rate": 0.1}, {"optimizer.loss_learning_rate": 0.2}),  # triplet learns nothing
        ({"loss": {"name": "arcface"}}, {}, {"optimizer.loss_learning_rate": 1e-3}),
        (SGD, {}, {"optimizer.momentum": 0.9}),
        ({}, {"optimizer.schedule.gamma": 0.1}, {"optimizer.schedule.gamma": 0.2}),
        ({STEPS: [4]}, {}, {STEPS: [4, 8, 60]}),  # of 8 epochs
        ({}, {STEPS: [4, 2]}, {STEPS: [2, 4]}),
        ({"optimizer.schedule.gamma": 1.0}, {STEPS: [4]}, {STEPS: [2]}),
        ({}, {"mdr.levels": [1.0, 2.0]}, {"mdr.levels": [2.0, 1.0]}),
        ({}, {"mdr.levels": [-3.0, 0.0, 3.0]}, {"mdr.levels": [-0.0, 3.0, -3.0]}),
        ({"mdr.learn_levels": False}, {"mdr.level_decay": 0.1}, {"mdr.level_decay": 0.2}),
        ({"mdr.weight": 0.0}, {"mdr.levels": [1.0]}, {"mdr.levels": [2.0]}),
        (MARGIN, {"loss.nu": 0.1}, {"loss.nu": 0.2}),
        ({}, {"miner": {"name": "auto"}}, {"miner": {"name": "distance_weighted"}}),
        ({}, {"loss": {"name": "pml.CircleLoss"}}, {"loss": {"name": "pml.CircleLoss", "gamma": 80.0, "m": 0.4}}),
        ({}, {"curves": ["train", "test"]}, {"curves": ["test", "train", "test"]}),
    ],
)
def test_what_makes_no_difference_makes_no_other_configuration(
    base: dict[str, Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    trial = apply_settings(TrialConfig(), base)
    assert configuration_key(apply_settings(trial, one)) == configuration_key(apply_settings(trial, other))


@pytest.mark.parametrize(
    ("base", "one", "other"),
    [
        ({}, {"optimizer.head_learning_rate": None}, {"optimizer.head_learning_rate": 2e-3}),
        ({"loss": {"name": "arcface"}}, {}, {"optimizer.loss_learning_rate": 0.2}),
        (SGD, {}, {"optimizer.momentum": 0.0}),
        ({STEPS: [4]}, {"optimizer.schedule.gamma": 0.1}, {"optimizer.schedule.gamma": 0.2}),
        ({STEPS: [4]}, {}, {STEPS: [4, 7]}),
        ({STEPS: [4]}, {}, {STEPS: [4, 4]}),
        ({STEPS: [4]}, {"epochs": 4}, {"epochs": 5}),
        ({}, {"optimizer.schedule": {"name": "cosine"}}, {}),
        ({}, {"mdr.levels": [1.0, 1.0]}, {"mdr.levels": [1.0]}),
        ({}, {"mdr.level_decay": 0.1}, {"mdr.level_decay": 0.2}),
        ({"mdr.weight": 0.0, "optimizer.clip_gradient_norm": 1.0}, {"mdr.levels": [1.0]}, {"mdr.levels": [2.0]}),
        ({**MARGIN, "loss.learn_beta": True}, {"loss.nu": 0.1}, {"loss.nu": 0.2}),
        ({}, {"miner": {"name": "auto"}}, {"miner": {"name": "distance_weighted", "weights": "stable"}}),
        ({}, {"loss": {"name": "pml.CircleLoss"}}, {"loss": {"name": "pml.CircleLoss", "gamma": 81}}),
    ],
)
def test_what_makes_a_difference_makes_another_configuration(
    base: dict[str, Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    trial = apply_settings(TrialConfig(), base)
    assert configuration_key(apply_settings(trial, one)) != configuration_key(apply_settings(trial, other))


def test_combinations_that_are_no_trial_are_not_listed() -> None:
    space = sweep_of({"batch.size": [8, 64], "batch.images_per_class": {"int": [4, 5]}}).space
    assert len(listed_configurations(TrialConfig(), space) or {}) == 3  # 8 images are not two classes of 5


def budgets(sweep: SweepConfig, **more: Any) -> list[tuple[int, int, int | None]]:
    return [(arm.trials, arm.wanted, arm.configurations) for arm in arms(sweep, **more)]


def test_an_arm_has_no_more_trials_than_configurations() -> None:
    space = {"mdr.weight": {"uniform": [0, 1]}, "embedding.size": [64, 128], "loss.margin": [0.1, 0.2]}
    sweep = sweep_of(space, search={"trials": 6}, baselines=["triplet"])
    assert budgets(sweep) == [(6, 6, None), (4, 6, 4)]
    assert budgets(sweep, more=3) == [(9, 9, None), (4, 9, 4)]
    assert budgets(sweep, repeats=True) == [(6, 6, None), (6, 6, None)]
    assert budgets(sweep_of(FEW, search={"trials": 2})) == [(2, 2, 3)]
    assert budgets(sweep_of(FEW, search={"sampler": "grid"})) == [(3, 3, 3)]
    assert budgets(sweep_of({}, search={"trials": 6})) == [(1, 1, None)]


def test_a_population_may_begin_with_the_same() -> None:
    assert budgets(sweep_of(FEW, search={"trials": 8, "scheduler": "pbt"})) == [(8, 8, None)]


def test_a_point_that_stands_twice_is_tried_once() -> None:
    space = {"mdr.levels": {"count": [1, 3], "spread": {"uniform": [1, 5]}}, "mdr.weight": {"uniform": [0, 1]}}
    points = [
        {"mdr.levels": [-3, 0, 3], "mdr.weight": 0.1},
        {"mdr.weight": 0.1},
        {"mdr.levels": {"count": 3, "spread": 3.0}, "mdr.weight": 0.1},
        {"mdr.weight": 0.1},  # what it leaves open is drawn
    ]
    sweep = sweep_of(space, start_from=points)
    assert repeated_points(sweep) == {2: 0}
    assert len(arms(sweep)[0].start_from) == 3
    assert len(arms(sweep, repeats=True)[0].start_from) == 4
