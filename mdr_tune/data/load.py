"""Data sets by name. Search code gets what it may see; one function reads the test classes, for the final result."""

import json
from pathlib import Path
from typing import Any

from mdr_tune.cache_files import cache_dir, check_cache_dir
from mdr_tune.catalog import DATASETS
from mdr_tune.config.data import read_data
from mdr_tune.data.dataset import ImageDataset, ImageSplit, OpenedDataset
from mdr_tune.data.images.fingerprint import file_states
from mdr_tune.data.images.image_cache_build import check_room
from mdr_tune.data.listings.open_listing import ImageFileSource, ListedDataset, open_listed
from mdr_tune.dataset_outline import DatasetOutline
from mdr_tune.progress import Progress, no_progress


def load_dataset(name: str, progress: Progress = no_progress, **keys: Any) -> ImageDataset:
    """Return the training and validation classes of a data set, its images cached on this machine if they were not.

    Opened once per process and keys, then kept: the images are mapped from a file, or in memory.

    Args:
        name: of the data set.
        progress: is told how far a cache is that has to be made.
        keys: what a sweep file has below `trial.data` (docs/sweep_file.md); a key that is left out has its default.

    Raises:
        ValueError: `name` is unknown; the message lists the known ones.
        UserError: a key is unknown, or its value wrong; files are missing, corrupt or not what they should be, or the
            cache cannot be written.
    """
    return _open(name, progress, keys).searched


def read_test_split(name: str, **keys: Any) -> ImageSplit:
    """Return the test classes of a data set: for the final evaluation, and for nothing else.

    Arguments and errors are those of `load_dataset`. A test (tests/test_layers.py) holds that one place calls it.
    """
    return _open(name, no_progress, keys).test


def outline_files(name: str, **keys: Any) -> DatasetOutline:
    """Return how many images each class of a data set of image files has.

    No image is read, but each must be there, and the disk have room for a cache of them. The list of the files is kept
    for the next `load_dataset`. Arguments and errors are those of `load_dataset`.
    """
    arguments, source = _source_arguments(name, keys), DATASETS[name]
    assert isinstance(source, ImageFileSource), name
    listed = source.listed(**arguments)
    files = listed.listing.root, listed.listing.paths
    if listed.opening["cache"]:
        check_room(name, *files, check_cache_dir(), listed.opening["resize"])
    else:
        file_states(*files)
    _listed[_text(name, arguments)] = listed
    return listed.outline()


def split_sizes(name: str, progress: Progress = no_progress, **keys: Any) -> dict[str, tuple[int, int]]:
    """Return how many images and classes each part of a data set has; a test split may be query and gallery.

    Arguments and errors are those of `load_dataset`.
    """
    searched, test = _open(name, progress, keys)
    parts = {"train": searched.split("train"), "validation": searched.split("validation")}
    parts |= {"test": test} if test.gallery is None else {"test queries": test, "test gallery": test.gallery}
    return {part: (len(split), split.num_classes) for part, split in parts.items()}


def dataset_content(name: str, **keys: Any) -> str:
    """Return a hash of the images of a data set and of their splits: two trials with the same saw the same.

    Arguments and errors are those of `load_dataset`.
    """
    return _open(name, no_progress, keys).searched.content


_opened: dict[tuple[str, Path], OpenedDataset] = {}
_listed: dict[str, ListedDataset] = {}
"""Data sets that `outline_files` listed and nobody has opened since."""


def _open(name: str, progress: Progress, keys: dict[str, Any]) -> OpenedDataset:
    arguments, folder = _source_arguments(name, keys), cache_dir()
    dataset = _text(name, arguments)
    if (dataset, folder) not in _opened:
        listed = _listed.pop(dataset, None)
        opened = (
            DATASETS[name](folder, progress, **arguments) if listed is None else open_listed(listed, folder, progress)
        )
        _opened[dataset, folder] = opened
    return _opened[dataset, folder]


def _source_arguments(name: str, keys: dict[str, Any]) -> dict[str, Any]:
    if name not in DATASETS:
        raise ValueError(DATASETS.unknown_message(name))
    return read_data(name, keys).source_arguments()


def _text(name: str, arguments: dict[str, Any]) -> str:
    return json.dumps([name, arguments], sort_keys=True)
