"""The first classes of the letters: evaluations of them take no second."""

import torch

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.data import ImageDataset, ImageSplit, load_dataset, read_test_split


def _first(count: int, split: ImageSplit) -> ImageSplit:
    return ImageSplit(split.images[torch.arange(count)], split.labels[:count])


def few_letters() -> ImageDataset:
    """Return 50 classes for training and 20 for validation; labels go on from part to part, as in the whole data."""
    whole = load_dataset(GlyphsDataConfig())
    train, validation = _first(600, whole.split("train")), _first(240, whole.split("validation"))
    labels = validation.labels - validation.labels[0] + train.num_classes
    return ImageDataset("glyphs", {"train": train, "validation": ImageSplit(validation.images, labels)})


def few_test_letters() -> ImageSplit:
    """Return 30 test classes."""
    return _first(360, read_test_split(GlyphsDataConfig()))
