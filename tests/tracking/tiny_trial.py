"""A trial of two steps, for tests that need a checkpoint of a real model."""

from pathlib import Path

import torch

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import ImageDataset, ImageSplit
from mdr_tune.training import TrialSession


def noise_images(classes: range, per_class: int = 4) -> ImageSplit:
    labels = torch.arange(classes.start, classes.stop).repeat_interleave(per_class)
    generator = torch.Generator().manual_seed(classes.start)
    images = torch.randint(0, 256, (len(labels), 1, 32, 32), dtype=torch.uint8, generator=generator)
    return ImageSplit(images, labels)


def trained(mode: str, backbone: str = "conv4") -> TrialSession:
    """A trial after two steps on noise, so that BatchNorm's statistics are not the initial ones."""
    splits = {"train": noise_images(range(6)), "validation": noise_images(range(6, 8))}
    config = TrialConfig.model_validate(
        {
            "backbone": {"name": backbone, "weights": "none"},
            "batch": {"size": 8, "images_per_class": 2},
            "embedding": {"size": 8, "mode": mode},
            "epochs": 1,
            "iterations_per_epoch": 2,
        }
    )
    session = TrialSession(config, ImageDataset("noise", splits))
    session.train_epoch()
    return session


def save(session: TrialSession, file: Path) -> Path:
    torch.save(session.state_dict(), file)
    return file
