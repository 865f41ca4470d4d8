"""Photos in an image cache, and a ResNet-18 whose weights lie in a file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pipeline.photos import write_photos
from throughput.sides import set_batch_norm_statistics

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import Images
from mdr_tune.data.images.image_files import open_images
from mdr_tune.data.listings.listing import ChosenImages
from mdr_tune.training import EmbeddingModel
from mdr_tune.util.progress import no_progress

BACKBONE = "resnet18"
PHOTOS = 256
"""Different photos; more images are the same ones again."""
TRIAL: dict[str, Any] = {
    "augmentation": "none",
    "batch": {"size": 128, "images_per_class": 4},
    "embedding": {"size": 512, "mode": "rescale", "head": {"hidden": [1024]}},
    "mdr": {"weight": 0.6},
    "optimizer": {"learning_rate": 1e-4},
}


def open_photos(folder: Path, count: int, size: int) -> Images:
    """Return `count` images of `size` x `size` pixels, from an image cache in `folder`."""
    photos = folder / "photos"
    photos.mkdir()
    names = write_photos(photos, min(count, PHOTOS))
    images, _ = open_images("photos", photos, names, folder, no_progress, resize=size, cache=True, corrupt="refuse")
    return ChosenImages(images, np.arange(count) % len(names))


def write_weights(file: Path, images: Images) -> None:
    """Write random weights to `file`, with BatchNorm's statistics of some of the images."""
    torch.manual_seed(0)
    model = EmbeddingModel.from_config(TrialConfig.from_keys({"backbone": {"name": BACKBONE, "weights": "none"}}))
    set_batch_norm_statistics(model, images[torch.arange(min(len(images), 32))])
    torch.save(model.backbone.state_dict(), file)


def trial(weights: Path, train: str, **keys: Any) -> TrialConfig:
    """Return the trial with the backbone of these weights, `train`ed (`all` or `none`), and further keys."""
    backbone = {"name": BACKBONE, "weights": str(weights), "train": train}
    return TrialConfig.from_keys({**TRIAL, "backbone": backbone, "batch_norm": "frozen", **keys})
