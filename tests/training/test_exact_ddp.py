"""W ranks compute what one rank computes: losses, levels, moving averages, BatchNorm and weights, step by step."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ranks import run_ranks

TRIAL: dict[str, Any] = {
    "batch": {"size": 32, "images_per_class": 4},  # 32 images over 3 ranks: 11, 11 and 10
    "embedding": {"size": 16, "mode": "rescale"},
    "mdr": {"weight": 0.5, "levels": [-1.0, 0.0, 1.0]},
    "optimizer": {"learning_rate": 1e-3, "schedule": {"milestones": [4]}},
    "epochs": 8,
}
FEW = {**TRIAL, "classes": 16, "optimizer": {"name": "sgd", "learning_rate": 1e-3}, "epochs": 2}
"""A trial of the images of few classes, whose features take less than a second."""
NETWORKS: dict[str, dict[str, Any]] = {
    "timm.test_byobnet": {"weights": "none", "drop_path_rate": 0.3},
    "timm.test_vit": {"weights": "none", "drop_path_rate": 0.3},
    "tests.own_components:Maps": {"width": 6},
}
TRIALS = {
    "mdr-rescale": TRIAL,
    "triplet-l2-stable": {
        **TRIAL,
        "embedding": {"size": 16, "mode": "l2"},
        "mdr": None,
        "miner": {"name": "distance_weighted", "weights": "stable"},
    },
    "frozen-offdiagonal": {
        **TRIAL,
        "batch_norm": "frozen",
        "mdr": {"weight": 0.5, "statistics": "offdiagonal"},
    },
    "proxies-adamw-cosine-clipped": {
        **TRIAL,
        "loss": "proxy_anchor",
        "embedding": {"size": 16},
        "mdr": {"weight": 0.5, "warmup_epochs": 3.0},
        "optimizer": {
            "name": "adamw",
            "loss_learning_rate": 0.1,
            "clip_gradient_norm": 0.5,
            "schedule": {"name": "cosine", "warmup_epochs": 2.0},
        },
    },
    "chunks-sgd": {
        **TRIAL,
        "batch": {"size": 32, "images_per_class": 4, "chunk_size": 3},
        "batch_norm": "frozen",
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "head_learning_rate": 0.1},
    },
    "library-loss-that-draws": {**TRIAL, "loss": {"name": "pml.TripletMarginLoss", "triplets_per_anchor": 2}},
    "a-network-that-draws": {
        **TRIAL,
        "backbone": {"name": "efficientnet_b0", "weights": "none"},
        "batch": {"size": 8, "images_per_class": 4},
        "optimizer": {"name": "sgd", "learning_rate": 1e-3},
        "epochs": 2,
    },
    "a-head-with-batch-norm-and-dropout": {
        **TRIAL,
        "embedding": {"size": 16, "pool": "gem", "head": {"hidden": [24, 12], "norm": "batch", "dropout": 0.3}},
    },
    "a-head-alone-in-chunks": {
        **TRIAL,
        "backbone": {"name": "conv4", "train": "none"},
        "batch": {"size": 32, "images_per_class": 4, "chunk_size": 3},
        "embedding": {"size": 16, "pool": "avg_max", "head": {"hidden": [24], "norm": "layer", "dropout": 0.3}},
    },
    "kept-features": {**TRIAL, "classes": 16, "backbone": {"name": "conv4", "train": "none", "views": 2}},
    "a-backbone-that-thaws": {
        **TRIAL,
        "backbone": {"name": "conv4", "train": {"last_blocks": 2}, "frozen_epochs": 3},
        "embedding": {"size": None, "pool": "max", "mode": "rescale"},
        "optimizer": {"learning_rate": 1e-3, "layer_decay": 0.5, "clip_gradient_norm": 0.5},
    },
    "a-convnet-of-timm": {  # its BatchNorm layers are of a class of timm
        **TRIAL,
        "backbone": {"name": "timm.test_byobnet", "weights": "none", "drop_rate": 0.1, "drop_path_rate": 0.3},
        "batch": {"size": 8, "images_per_class": 4},
        "optimizer": {"name": "sgd", "learning_rate": 1e-3},
        "epochs": 2,
    },
    "a-vit-of-timm": {
        **TRIAL,
        "backbone": {"name": "timm.test_vit", "weights": "none", "drop_path_rate": 0.3},
        "optimizer": {"name": "sgd", "learning_rate": 1e-3},
        "epochs": 2,
    },
    "a-vit-of-timm-that-drops-in-chunks": {
        **TRIAL,
        "backbone": {
            "name": "timm.test_vit",
            "weights": "none",
            "drop_path_rate": 0.3,
            "attn_drop_rate": 0.2,
            "patch_drop_rate": 0.4,
            "proj_drop_rate": 0.1,
            "drop_rate": 0.1,
            "global_pool": "avg",
        },
        "batch": {"size": 32, "images_per_class": 4, "chunk_size": 5},
        "batch_norm": "frozen",
        "optimizer": {"name": "sgd", "learning_rate": 1e-3},
        "epochs": 2,
    },
    "own-maps-loss-and-miner": {
        **TRIAL,
        "backbone": {"name": "tests.own_components:Maps", "width": 6},
        "loss": {"name": "tests.own_components:Pairwise", "margin": 0.7},
        "miner": "tests.own_components:EasyPositive",
        "batch_norm": "synced",
    },
    "own-tokens-in-chunks": {
        **TRIAL,
        "backbone": "tests.own_components:Tokens",
        "batch": {"size": 32, "images_per_class": 4, "chunk_size": 5},
        "batch_norm": "frozen",
        "loss": {"name": "tests.own_components:SoftTriple", "centers": 3},
        "embedding": {"size": 16},
    },
    "own-network-of-layers-that-drop": {
        **TRIAL,
        "backbone": "tests.own_components:Drops",
        "optimizer": {"name": "sgd", "learning_rate": 1e-3},
        "epochs": 3,
    },
    "own-network-with-idle-and-skipped-parameters": {
        **TRIAL,
        "backbone": {"name": "tests.own_components:Classifier", "frozen_epochs": 1},
        "optimizer": {"name": "sgd", "learning_rate": 1e-3, "weight_decay": 0.1},
    },
    "bf16": {**TRIAL, "precision": "bf16"},
    **{
        f"{kind}-{name}": {**FEW, **keys, "backbone": {"name": name, **arguments, **backbone}}
        for name, arguments in NETWORKS.items()
        for kind, keys, backbone in (
            ("frozen", {}, {"train": "none"}),
            ("kept", {}, {"train": "none", "views": 2}),
            ("bf16", {"precision": "bf16", "batch_norm": "synced"}, {}),
        )
    },
    "memory": {
        **TRIAL,
        "mdr": {"weight": 0.5, "levels": [-1.0, 0.0, 1.0]},
        "miner": {"name": "distance_weighted", "weights": "stable"},
        "memory": {"size": 80, "start_epoch": 2.0, "mdr": "both"},  # full after the third of its six steps
    },
    "memory-of-pairs-in-chunks": {
        **TRIAL,
        "batch": {"size": 32, "images_per_class": 4, "chunk_size": 3},
        "batch_norm": "frozen",
        "embedding": {"size": 16, "mode": "l2"},
        "loss": "contrastive",
        "optimizer": {"name": "sgd", "learning_rate": 0.05},
        "memory": {"size": 80, "start_epoch": 0.0, "batch_loss": False},
    },
    "learned-beta-semi-hard": {
        **TRIAL,
        "loss": {"name": "margin", "learn_beta": True, "nu": 0.1},
        "miner": "semi_hard",
    },
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    """What each rank saw, by the number of ranks. All trials run one after another in the same processes."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "trials.json").write_text(json.dumps(TRIALS))
    for world_size in (1, 2, 3):
        run_ranks(Path(__file__).with_name("trial_rank.py"), world_size, str(folder))
    return {w: [torch.load(folder / f"{w}_ranks_{rank}.pt") for rank in range(w)] for w in (1, 2, 3)}


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("trial", TRIALS)
def test_ranks_compute_what_one_rank_computes(seen: dict[int, list[Any]], trial: str, world_size: int) -> None:
    alone, together = seen[1][0][trial], seen[world_size][0][trial]
    if trial.startswith("bf16"):
        # Its rounding depends on how images are grouped and on the processor; later the miner draws other negatives.
        for one, many in zip(alone[:2], together[:2], strict=True):
            assert many["metrics"] == pytest.approx(one["metrics"], rel=0.1, abs=0.1)
        return
    for step, (one, many) in enumerate(zip(alone, together, strict=True)):
        for part in ("metrics", "objective", "model"):
            # Adam's first steps have one size, however near to 0 a gradient is: rounding comes out larger.
            torch.testing.assert_close(
                many[part], one[part], rtol=1e-9, atol=1e-10, msg=lambda m, s=step, p=part: f"step {s}, {p}: {m}"
            )
    if "milestones" in str(TRIALS[trial]):
        assert alone[-1]["metrics"]["train/learning_rate"] == pytest.approx(2e-4)  # past the milestone


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("trial", TRIALS)
def test_the_ranks_of_a_group_agree_to_the_last_bit(seen: dict[int, list[Any]], trial: str, world_size: int) -> None:
    for other in seen[world_size][1:]:
        torch.testing.assert_close(other[trial], seen[world_size][0][trial], rtol=0, atol=0)


@pytest.mark.parametrize("world_size", [2, 3])
def test_evaluation_is_the_same_for_any_number_of_ranks(seen: dict[int, list[Any]], world_size: int) -> None:
    for rank in seen[world_size]:
        assert rank["validation"] == pytest.approx(seen[1][0]["validation"], abs=1e-9)
