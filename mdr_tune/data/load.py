"""Data sets by name. Search code gets what it may see; one function reads the test classes, for the final result."""

import json
from pathlib import Path
from typing import Any

from mdr_tune.cache_files import cache_dir
from mdr_tune.catalog import DATASETS
from mdr_tune.data.dataset import ImageDataset, ImageSplit, OpenedDataset
from mdr_tune.progress import Progress, no_progress


def load_dataset(name: str, progress: Progress = no_progress, **arguments: Any) -> ImageDataset:
    """Return the training and validation classes of a data set, its images cached on this machine if they were not.

    Opened once per process and arguments, then kept: the images are mapped from a file, or in memory.

    Args:
        name: of the data set.
        progress: is told how far a cache is that has to be made.
        arguments: what the data set's class in `mdr_tune.config.data` has; plain values.

    Raises:
        ValueError: `name` is unknown; the message lists the known ones.
        UserError: files are missing, corrupt or not what they should be, or the cache cannot be written.
    """
    return _open(name, progress, arguments).searched


def read_test_split(name: str, **arguments: Any) -> ImageSplit:
    """Return the test classes of a data set: for the final evaluation, and for nothing else.

    Arguments and errors are those of `load_dataset`. A test (tests/test_layers.py) holds that one place calls it.
    """
    return _open(name, no_progress, arguments).test


def split_sizes(name: str, progress: Progress = no_progress, **arguments: Any) -> dict[str, tuple[int, int]]:
    """Return how many images and classes each part of a data set has; a test split may be query and gallery.

    Arguments and errors are those of `load_dataset`.
    """
    searched, test = _open(name, progress, arguments)
    parts = {"train": searched.split("train"), "validation": searched.split("validation")}
    parts |= {"test": test} if test.gallery is None else {"test queries": test, "test gallery": test.gallery}
    return {part: (len(split), split.num_classes) for part, split in parts.items()}


def dataset_content(name: str, **arguments: Any) -> str:
    """Return a hash of the images of a data set and of their splits: two trials with the same saw the same.

    Arguments and errors are those of `load_dataset`.
    """
    return _open(name, no_progress, arguments).searched.content


_opened: dict[tuple[str, str, Path], OpenedDataset] = {}


def _open(name: str, progress: Progress, arguments: dict[str, Any]) -> OpenedDataset:
    key = name, json.dumps(arguments, sort_keys=True), cache_dir()
    if key not in _opened:
        _opened[key] = DATASETS[name](key[2], progress, **arguments)
    return _opened[key]
