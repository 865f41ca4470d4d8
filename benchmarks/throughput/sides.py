"""What is timed: a side runs rounds of training steps. Ours is here, the other in plain.py, bare.py or authors.py."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import ImageDataset, ImageSplit
from mdr_tune.data.vectors import Vectors, write_vectors
from mdr_tune.training import Ranks, TrialSession

FEATURES = "features"
"""Stands for a backbone: the head alone is trained, on vectors."""
FEATURE_SIZE, HIDDEN = 1280, 1024
"""Lengths of a vector, and of the head's hidden layer."""
IMAGES_PER_CLASS = 4
LEARNING_RATE = 1e-4
MDR_WEIGHT, LEVEL_DECAY = 0.6, 0.01  # the authors', for CUB-200


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    backbone: str
    precision: Literal["fp32", "bf16"]
    device: torch.device
    batch_size: int
    image_size: int = 224
    embedding_size: int = 512

    @property
    def is_head_only(self) -> bool:
        """Whether features are trained on, without a network before the embedding layer."""
        return self.backbone == FEATURES

    @property
    def augments(self) -> bool:
        return not self.is_head_only

    @property
    def name(self) -> str:
        """Backbone and precision."""
        return f"{self.backbone} {self.precision}"

    def images(self) -> ImageSplit:
        """Return random images on the device, twice the classes of a batch and twice the images of a class.

        For the head alone they are vectors in a file, which our side maps. The labels are on the CPU, as those of all
        data sets.
        """
        labels = torch.arange(2 * self.batch_size // IMAGES_PER_CLASS).repeat_interleave(2 * IMAGES_PER_CLASS)
        if self.is_head_only:
            return ImageSplit(_random_vectors(len(labels)), labels)
        generator = torch.Generator().manual_seed(0)
        shape = (len(labels), 3, self.image_size, self.image_size)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return ImageSplit(images.to(self.device), labels)

    def config(self, iterations: int) -> TrialConfig:
        """Return the trial: the authors' settings."""
        data: dict[str, Any] = {"backbone": {"name": self.backbone, "weights": "none"}}
        head: Any = "linear"
        if self.is_head_only:
            data, head = {"data": {"name": FEATURES, "file": "random.parquet"}}, {"hidden": [HIDDEN]}
        return TrialConfig.from_keys(
            {
                **data,
                "batch_norm": "frozen",
                "augmentation": "affine" if self.augments else "none",
                "batch": {"size": self.batch_size, "images_per_class": IMAGES_PER_CLASS},
                "embedding": {"size": self.embedding_size, "mode": "rescale", "head": head},
                "loss": {"name": "triplet", "margin": 0.2},
                "miner": {"name": "distance_weighted"},
                "mdr": {"weight": MDR_WEIGHT, "level_decay": LEVEL_DECAY},
                "optimizer": {"name": "adam", "learning_rate": LEARNING_RATE, "weight_decay": 1e-5},
                "precision": self.precision,
                "iterations_per_epoch": iterations,
            }
        )


def _random_vectors(count: int) -> Vectors:
    vectors = np.random.default_rng(0).standard_normal((count, FEATURE_SIZE), dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="mdr_tune-benchmark-") as folder:
        file = Path(folder) / "vectors.npy"
        write_vectors(file, count, FEATURE_SIZE, [vectors])
        return Vectors(file)  # what is mapped stays, without a name


class Side(Protocol):
    """Something that trains."""

    def __init__(self, setting: Setting, iterations: int) -> None: ...

    def run_round(self) -> float:
        """Train `iterations` steps; returns their mean loss without MDR."""
        ...


class OurSide:
    """`TrialSession`, as a sweep runs it."""

    def __init__(self, setting: Setting, iterations: int) -> None:
        split = setting.images()
        dataset = ImageDataset("random", {"train": split})
        self.session = TrialSession(setting.config(iterations), dataset, Ranks(device=setting.device))
        set_batch_norm_statistics(self.session.model, split.images[torch.arange(setting.batch_size)])

    def start_as(self, state: dict[str, torch.Tensor]) -> None:
        """Take the weights and statistics of an `EmbeddingModel`."""
        self.session.model.load_state_dict(state)

    @torch.no_grad()
    def start_with(self, net: torch.nn.Module) -> None:
        """Take the parameters of a network that has the same ones in the same order."""
        for mine, theirs in zip(self.session.model.parameters(), net.parameters(), strict=True):
            mine.copy_(theirs)

    def run_round(self) -> float:
        return self.session.train_epoch()["train/dml_loss"]


@torch.no_grad()
def set_batch_norm_statistics(model: torch.nn.Module, images: torch.Tensor) -> None:
    """Give BatchNorm the statistics of one batch: with the initial ones, random networks of such depth explode."""
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0
    model.train()
    model(images.to(next(model.parameters()).device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
