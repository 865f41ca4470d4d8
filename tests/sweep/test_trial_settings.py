"""What the plan says of a sweep's trials."""

import shutil
from pathlib import Path
from typing import Any

from mdr_tune.config.sweep import SweepConfig
from mdr_tune.data.outline import DatasetOutline, SplitOutline
from mdr_tune.sweep.trial_settings import trial_settings
from mdr_tune.util.import_path import look_for_code_in

OUTLINE = DatasetOutline("x", SplitOutline((3, 4)), SplitOutline((5,)), SplitOutline((1000, 234), gallery=4321))


def settings(trial: dict[str, Any] | None = None, **keys: Any) -> dict[str, str]:
    return dict(trial_settings(SweepConfig.model_validate({"name": "x", "trial": trial or {}, **keys}), OUTLINE))


def test_sizes_of_the_splits() -> None:
    test = "test 2 classes, 1,234 images, 4,321 in the gallery"
    assert settings()["splits"] == f"train 2 classes, 7 images; validation 1 class, 5 images; {test}"
    joined = settings({"protocol": "paper"})
    assert joined["splits"] == f"train 3 classes, 12 images; {test}"
    assert joined["training"].endswith(", protocol paper")


def test_what_differs_from_the_defaults_is_said() -> None:
    found = settings(
        {
            "backbone": {"name": "resnet18", "weights": "none", "train": {"last_blocks": 2}, "frozen_epochs": 1},
            "embedding": {"head": {"hidden": [256]}},
            "loss": {"name": "arcface", "margin": 28.6},
            "mdr": None,
            "optimizer": {"name": "sgd", "schedule": "cosine"},
            "seed": 3,
        }
    )
    assert found["backbone"] == "resnet18, weights random, train {last_blocks: 2}, frozen_epochs 1"
    assert found["embedding"] == "size 128, mode l2, head {hidden: [256], norm: layer, dropout: 0}"
    assert found["loss"].startswith("arcface, margin 28.6, scale ")
    assert not {"miner", "mdr", "memory"} & found.keys()
    assert found["optimizer"] == "sgd, learning_rate 0.001, schedule {name: cosine, warmup_epochs: 0}"
    assert found["training"].endswith("batch_norm synced, seed 3")


def test_what_is_searched_has_no_value() -> None:
    found = settings(
        space={
            "loss": ["triplet", "arcface"],
            "mdr.levels": {"count": [2, 3], "spread": 2.0},
            "optimizer.weight_decay": {"loguniform": [1e-5, 1e-3]},
            "epochs": {"int": [3, 5]},
            "seed": [0, 1],
        }
    )
    assert found["loss"] == "searched"
    assert (found["miner"], found["embedding"]) == ("auto", "size 128, mode auto")  # it depends on the loss
    assert found["mdr"] == "weight 0.1, levels searched, learn_levels true"
    assert found["optimizer"] == "adam, learning_rate 0.001, weight_decay searched"
    assert found["training"] == "epochs searched, iterations_per_epoch 100, batch_norm synced, seed searched"


def test_a_network_of_the_user_s_own(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "own_components.py", tmp_path)
    look_for_code_in([tmp_path])
    try:
        weights = settings({"backbone": {"name": "own_components:make_features"}})["backbone"]
    finally:
        look_for_code_in([])
    assert weights == "own_components:make_features, weights as its code makes them"
