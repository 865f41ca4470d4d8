"""What the plan says of the models of a sweep: whether their parts fit, and what is trained."""

from typing import Any

import pytest

from mdr_tune.sweep.model_fit import describe_training, model_problems, outline
from tests.sweep.make import make_sweep

RESNET = {"name": "resnet18", "weights": "none"}
REGNET = {"name": "regnet_y_400mf", "weights": "none"}


@pytest.mark.parametrize(
    ("trial", "problems"),
    [
        ({}, []),
        ({"embedding": {"head": "identity", "pool": "gem"}}, []),
        ({"backbone": RESNET, "embedding": {"head": "identity", "size": 512}}, []),
        (
            {"backbone": RESNET, "embedding": {"head": "identity", "size": 128}},
            [
                "embedding.size: 128, but with head: identity an embedding is the 512 features of resnet18: write 512, "
                "or null, which stands for it"
            ],
        ),
        (
            {"embedding": {"pool": "token"}},
            ["embedding.pool: token: conv4 has no class or register token: write avg, or gem"],
        ),
        (
            {"backbone": {"name": "vgg11", "weights": "none"}, "embedding": {"pool": "gem"}},
            ["embedding.pool: gem: vgg11 pools its features itself: leave out embedding.pool"],
        ),
        (
            {"backbone": {"name": "conv4", "train": {"last_blocks": 5}}},
            ["backbone.train: last_blocks 5, but conv4 has 4 blocks: write at most 4, or train: all"],
        ),
    ],
)
def test_a_model_that_does_not_fit_is_named_with_its_key(trial: dict[str, Any], problems: list[str]) -> None:
    assert model_problems(make_sweep(trial=trial)) == problems


def test_every_backbone_is_tried_with_every_head() -> None:
    space = {"backbone": ["conv4", RESNET], "embedding.head": ["linear", "identity"]}
    sizes = [problem.split(" features of ")[0][-3:] for problem in model_problems(make_sweep(space=space))]
    assert sizes == ["256", "512"]


def test_the_plan_says_what_is_trained() -> None:
    assert describe_training(make_sweep()) == []
    late = "; at first, for 2 epochs, the head alone"
    parts: list[Any] = ["all", "none", {"last_blocks": 2}]
    trial = {"backbone": {"name": "conv4", "frozen_epochs": 2}, "embedding": {"size": 16}}
    assert describe_training(make_sweep(trial=trial, space={"backbone.train": parts})) == [
        f"conv4: all 4 blocks and the head, 97,008 of 97,008 parameters{late}",
        "conv4: the head, 4,112 of 97,008 parameters",
        f"conv4: the last 2 of 4 blocks and the head, 78,096 of 97,008 parameters{late}",
    ]
    (regnet,) = describe_training(make_sweep(trial={"backbone": {**REGNET, "train": {"last_blocks": 1}}}))
    assert regnet.startswith("regnet_y_400mf: the last 1 of 17 blocks and the head, ")
    assert all(p.is_meta for p in outline(make_sweep().trial).parameters())
