"""Whole trials on the pretended GPU, and what a training step costs there: a table that a change is compared with.

    python -m tests.training.gpu_trials      # writes the table anew, after a change that is meant

A row is a trial. `operations` start a kernel; at `syncs` the CPU waits for the GPU; `copies` to the GPU come out of
memory that is not pinned, or wait. All are those of the third step: the first makes the optimizer's state.
"""

import json
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import ImageDataset, ImageSplit, load_dataset
from mdr_tune.training import Ranks, TrialSession
from tests.pretended_gpu import PretendedGPU, pretended_gpu

TABLE = Path(__file__).parent / "fixtures" / "gpu_work.json"
TRAINED_IMAGES, VALIDATED_IMAGES = 96, 48  # of glyphs, twelve a class

BASE: dict[str, Any] = {
    "batch": {"size": 12, "images_per_class": 4},
    "embedding": {"size": 8},
    "optimizer": {"learning_rate": 1e-3},
    "epochs": 2,
    "iterations_per_epoch": 3,
}
LOSSES = ("contrastive", "margin", "multi_similarity", "n_pair", "proxy_nca", "proxy_anchor", "arcface")
MINERS = ("distance_weighted", "random", "all", "hard", "semi_hard", "multi_similarity")
EFFICIENTNET = {
    "backbone": {"name": "efficientnet_b0", "weights": "none"},
    "batch": {"size": 6, "images_per_class": 3},
    "optimizer": {"name": "sgd", "learning_rate": 1e-6},  # its gradients are large, and so is what a rounding grows to
}
TRIALS: dict[str, dict[str, Any]] = {
    **{f"miner {miner}": {"loss": "triplet", "miner": miner} for miner in MINERS},
    "miner distance_weighted, stable": {"miner": {"name": "distance_weighted", "weights": "stable"}},
    "miner distance_weighted, pairs": {"batch": {"size": 12, "images_per_class": 2}},
    **{f"loss {loss}": {"loss": loss} for loss in LOSSES},
    "loss margin, learned beta": {"loss": {"name": "margin", "learn_beta": True, "nu": 0.1}},
    "loss pml.CircleLoss": {"loss": "pml.CircleLoss"},
    "loss pml.TripletMarginLoss, drawn": {"loss": {"name": "pml.TripletMarginLoss", "triplets_per_anchor": 2}},
    "mode l2, no MDR": {"embedding": {"size": 8, "mode": "l2"}, "mdr": None},
    "mode none, offdiagonal MDR": {"embedding": {"size": 8, "mode": "none"}, "mdr": {"statistics": "offdiagonal"}},
    "augmentation random_resized_crop": {"augmentation": "random_resized_crop"},
    "augmentation none": {"augmentation": "none"},
    "precision bf16": {"precision": "bf16"},
    "precision fp16": {"precision": "fp16"},
    "chunks": {"batch_norm": "frozen", "batch": {"size": 12, "images_per_class": 4, "chunk_size": 5}},
    "adamw, clipped": {"optimizer": {"name": "adamw", "clip_gradient_norm": 0.5}},
    "sgd": {"optimizer": {"name": "sgd", "learning_rate": 0.01}},
    "a network that drops": EFFICIENTNET,
    "a memory": {"memory": {"size": 30, "start_epoch": 0.0, "mdr": "both"}},
}

Work = dict[str, Any]


def small_glyphs() -> ImageDataset:
    """Return a few classes of glyphs."""
    whole = load_dataset(GlyphsDataConfig())
    train, validation = whole.split("train"), whole.split("validation")
    rows = torch.arange(TRAINED_IMAGES)
    images = validation.images[torch.arange(VALIDATED_IMAGES)]
    return ImageDataset(
        "glyphs",
        {
            "train": ImageSplit(train.images[rows], train.labels[rows]),
            "validation": ImageSplit(images, validation.labels[:VALIDATED_IMAGES]),
        },
    )


def train(name: str, ranks: Ranks, on_step: Callable[[], None] = lambda: None) -> list[dict[str, float]]:
    """Train an epoch of a trial with an evaluation, as every trial does; returns the metrics."""
    session = TrialSession(TrialConfig.model_validate({**BASE, **TRIALS[name]}), small_glyphs(), ranks)
    step = session._step

    def counted_step(*arguments: Any) -> Any:
        measured = step(*arguments)
        on_step()
        return measured

    with mock.patch.object(session, "_step", counted_step), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        return session.run_epoch()


def train_on_gpu(name: str) -> tuple[dict[str, float], Work]:
    """Return a trial's metrics after an epoch on the pretended GPU, and the work of its third step."""
    after_steps: list[tuple[Counter[str], Counter[str], int]] = []
    with pretended_gpu() as gpu:
        metrics = train(name, Ranks(device=gpu.device), lambda: after_steps.append(_counted(gpu)))
    before, after = after_steps[-2:]
    operations, syncs = after[0] - before[0], after[1] - before[1]
    assert not gpu.streams.mistakes, gpu.streams.mistakes[:3]
    work = {"operations": operations.total(), "syncs": dict(sorted(syncs.items())), "copies": after[2] - before[2]}
    return metrics, work


def _counted(gpu: PretendedGPU) -> tuple[Counter[str], Counter[str], int]:
    return gpu.operations.copy(), gpu.syncs.copy(), gpu.copies


def read_table() -> tuple[str, dict[str, Work]]:
    """Return the version of torch that the table was written with, and its rows by the trials' names."""
    table = json.loads(TABLE.read_text())
    return table["torch"], table["steps"]


def torch_version() -> str:
    """Return the version without what is behind its second number: operations follow it."""
    return ".".join(torch.__version__.split(".")[:2])


def write_table() -> None:
    """Train all trials and write the table, a line for each."""
    rows = ",\n".join(f"    {json.dumps(name)}: {json.dumps(train_on_gpu(name)[1])}" for name in TRIALS)
    TABLE.write_text(f'{{\n  "torch": "{torch_version()}",\n  "steps": {{\n{rows}\n  }}\n}}\n')


if __name__ == "__main__":
    write_table()
