"""What is timed: sides that turn indices of images into batches for the network. Fixed numbers are the paper's."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from torchvision.datasets.folder import default_loader
from torchvision.transforms import Compose, PILToTensor

from mdr_tune.backbones import build_backbone
from mdr_tune.data import Images, ImageSplit
from mdr_tune.data.augmentations.augmentation import build_augmentation
from mdr_tune.training import Ranks
from mdr_tune.training.input_pipeline import InputPipeline

RESIZE, IMAGE_SIZE, BATCH_SIZE = 256, 224, 128
BACKBONE = "bn_inception"


class Side(Protocol):
    """Makes training batches."""

    name: str
    steps: int
    """Batches of a round: enough for a second or so."""
    dtype: torch.dtype
    """Of the batches."""

    def batches(self, epoch: int, indices: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield a batch (B, 3, 224, 224) for each row of `indices` (steps, B)."""
        ...


NOT_NORMALIZED = ", not normalised"
"""Ends the names of sides that stop before the normalisation."""


class AuthorsSide:
    """The transform of the authors' code, on what their data sets load, stacked as a DataLoader's worker does it."""

    steps = 1

    def __init__(self, checkout: Path, files: list[Path], normalize: bool = True) -> None:
        self.name, self.dtype = ("authors", torch.float32) if normalize else (f"authors{NOT_NORMALIZED}", torch.uint8)
        transform = authors_transform(checkout)
        # Their list ends with ToTensor and the normalisation: what is before makes Pillow's image.
        self._transform = transform if normalize else Compose([*transform.transforms[:-2], PILToTensor()])
        self._files = [str(file) for file in files]

    def batches(self, epoch: int, indices: torch.Tensor) -> Iterator[torch.Tensor]:
        for rows in indices.tolist():
            yield torch.stack([self._transform(default_loader(self._files[row])) for row in rows])


def authors_transform(checkout: Path) -> Compose:
    """Return their transform for training BN-Inception; sys.path must have their checkout."""
    common = importlib.import_module("utils.common")
    assert str(checkout) in str(common.__file__), f"another module took the name utils: {common.__file__}"
    network = importlib.import_module("model.backbone").BNInception(pretrained=False)
    train_transform: Compose = common.build_transform(network)[0]
    return train_transform


class OurSide:
    """`InputPipeline` on a CPU, then the normalisation, which in training is a part of the model."""

    def __init__(self, name: str, images: Images, steps: int, normalize: bool = True) -> None:
        self.name, self.steps = name if normalize else f"{name}{NOT_NORMALIZED}", steps
        split = ImageSplit(images, torch.zeros(len(images), dtype=torch.int64))
        augmentation = build_augmentation("random_resized_crop", IMAGE_SIZE)
        self._pipeline = InputPipeline(split, augmentation, seed=0, ranks=Ranks())
        self._normalize = build_backbone(BACKBONE).normalize if normalize else None
        self.dtype = torch.float32 if normalize else torch.uint8

    def batches(self, epoch: int, indices: torch.Tensor) -> Iterator[torch.Tensor]:
        for batch in self._pipeline.epoch(epoch, indices):
            yield self._normalize(batch.images) if self._normalize else batch.images
