"""What is timed: sides that turn indices of images into batches for the network. Fixed numbers are the paper's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from torchvision.datasets.folder import default_loader
from torchvision.transforms import (
    Compose,
    InterpolationMode,
    Lambda,
    Normalize,
    PILToTensor,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToTensor,
)

from mdr_tune.backbones import build_backbone
from mdr_tune.data import Images, ImageSplit
from mdr_tune.data.augmentations import random_resized_crop
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
SCALE, RATIO = (0.16, 1.0), (0.75, 1.33)
"""Of a random crop's area, in shares of the image's, and of its sides."""


class PillowSide:
    """What the authors' code does, by torchvision's transforms on Pillow's images: each image is decoded each time."""

    steps = 1

    def __init__(self, files: list[Path], normalize: bool = True) -> None:
        self.name, self.dtype = ("Pillow", torch.float32) if normalize else (f"Pillow{NOT_NORMALIZED}", torch.uint8)
        lanczos = InterpolationMode.LANCZOS
        crops = [
            Resize((RESIZE, RESIZE), lanczos),
            RandomResizedCrop(IMAGE_SIZE, SCALE, RATIO, lanczos),
            RandomHorizontalFlip(),
        ]
        # The weights of BN-Inception are Caffe's: blue, green and red from 0 to 255, less their means.
        floats = [ToTensor(), Lambda(lambda image: image.flip(0) * 255), Normalize((104, 117, 128), (1, 1, 1))]
        self._transform = Compose([*crops, *(floats if normalize else [PILToTensor()])])
        self._files = [str(file) for file in files]

    def batches(self, epoch: int, indices: torch.Tensor) -> Iterator[torch.Tensor]:
        for rows in indices.tolist():
            yield torch.stack([self._transform(default_loader(self._files[row])) for row in rows])


class OurSide:
    """`InputPipeline` on a CPU, then the normalisation, which in training is a part of the model."""

    def __init__(self, name: str, images: Images, steps: int, normalize: bool = True) -> None:
        self.name, self.steps = name if normalize else f"{name}{NOT_NORMALIZED}", steps
        split = ImageSplit(images, torch.zeros(len(images), dtype=torch.int64))
        augmentation = random_resized_crop.RandomResizedCrop(IMAGE_SIZE)
        self._pipeline = InputPipeline(split, augmentation, seed=0, ranks=Ranks())
        self._normalize = build_backbone(BACKBONE).normalize if normalize else None
        self.dtype = torch.float32 if normalize else torch.uint8

    def batches(self, epoch: int, indices: torch.Tensor) -> Iterator[torch.Tensor]:
        for batch in self._pipeline.epoch(epoch, indices):
            yield self._normalize(batch.images) if self._normalize else batch.images
