"""Data sets by name. Search code gets what it may see; one function reads the test classes, for the final result."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mdr_tune.config.catalog import DATASETS
from mdr_tune.config.data import read_data
from mdr_tune.data.dataset import ImageDataset, ImageSplit, OpenedDataset
from mdr_tune.data.listings.open_listing import (
    ImageFileSource,
    ListedDataset,
    check_copies,
    find_listed,
    open_listed,
)
from mdr_tune.data.outline import DatasetOutline
from mdr_tune.util.cache_folder import cache_dir, check_cache_dir
from mdr_tune.util.progress import Progress, no_progress


def load_dataset(name: str, progress: Progress = no_progress, **keys: Any) -> ImageDataset:
    """Return the training and validation classes of a data set, its images cached on this machine if they were not.

    Opened once per process and keys, then kept: the images are mapped from a file, or in memory.

    Args:
        name: of the data set.
        progress: is told how far a cache is that has to be made.
        keys: what a sweep file has below `trial.data` (docs/sweep_file.md); a key that is left out has its default.

    Raises:
        UserError: `name` is unknown, and the message lists the known ones (an `UnknownName`); a key is unknown, or its
            value wrong; files are missing, corrupt or not what they should be, or the cache cannot be written.
    """
    return _open(name, progress, keys).searched


def read_test_split(name: str, **keys: Any) -> ImageSplit:
    """Return the test classes of a data set: for the final evaluation, and for nothing else.

    Arguments and errors are those of `load_dataset`. A test (tests/test_layers.py) holds that one place calls it.
    """
    return _open(name, no_progress, keys).test


def outline_files(name: str, *ways: Mapping[str, Any]) -> DatasetOutline:
    """Return how many images each class of a data set of image files has, and check what can be before one is decoded.

    Images that are decoded already are checked as `load_dataset` does. Otherwise files must be there, the disk have
    room for a cache of them, and no file be a copy of one in another split, unless such are kept. Nothing is written.
    What was listed is kept for the next `load_dataset`.

    Args:
        name: of the data set.
        ways: keys, as of `load_dataset`; of several only `resize`, `image_size` and `cache` may differ.

    Raises:
        UserError: as `load_dataset`.
    """
    arguments, folder = [_source_arguments(name, keys) for keys in ways], check_cache_dir()
    wanted = {_key(name, each, folder): each for each in arguments}
    if unopened := {key: each for key, each in wanted.items() if key not in _opened}:
        _look_at(name, unopened)
    outlines = [_opened[key].outline() for key in wanted if key in _opened]
    return outlines[0] if outlines else _listed[next(iter(wanted))].outline()


def is_decoded(name: str, **keys: Any) -> bool:
    """Return whether this process has found the images of a data set decoded, or decoded them.

    Arguments and errors are those of `load_dataset`.
    """
    return _key(name, _source_arguments(name, keys), check_cache_dir()) in _opened


def split_sizes(name: str, **keys: Any) -> dict[str, tuple[int, int]]:
    """Return how many images and classes each part of a data set has; a test split may be query and gallery.

    Arguments and errors are those of `load_dataset`.
    """
    searched, test = _open(name, no_progress, keys)
    parts = {"train": searched.split("train"), "validation": searched.split("validation")}
    parts |= {"test": test} if test.gallery is None else {"test queries": test, "test gallery": test.gallery}
    return {part: (len(split), split.num_classes) for part, split in parts.items()}


def dataset_content(name: str, **keys: Any) -> str:
    """Return a hash of the images of a data set and of their splits: two trials with the same saw the same.

    Arguments and errors are those of `load_dataset`.
    """
    return _open(name, no_progress, keys).searched.content


_Key = tuple[str, Path]  # data set with its source's arguments, and cache folder

_opened: dict[_Key, OpenedDataset] = {}
_listed: dict[_Key, ListedDataset] = {}
"""Data sets that `_look_at` listed and nobody has opened since."""


def _open(name: str, progress: Progress, keys: Mapping[str, Any]) -> OpenedDataset:
    arguments, folder = _source_arguments(name, keys), cache_dir()
    key, source = _key(name, arguments, folder), DATASETS[name]
    if isinstance(source, ImageFileSource) and key not in _opened and key not in _listed:
        _look_at(name, {key: arguments})
    if key not in _opened:
        listed = _listed.pop(key, None)
        opened = source(folder, progress, **arguments) if listed is None else open_listed(listed, folder, progress)
        _opened[key] = opened
    return _opened[key]


def _look_at(name: str, ways: Mapping[_Key, Mapping[str, Any]]) -> None:
    """List a data set of image files, and check it. Open it where it is decoded, and keep the list where it is not.

    Args:
        name: of the data set.
        ways: arguments of its source; of several only `resize` and `cache` may differ.
    """
    source = DATASETS[name]
    assert isinstance(source, ImageFileSource), name
    listed = source.listed(**next(iter(ways.values())))
    read_as = {key: listed.read_as(way["resize"], way["cache"]) for key, way in ways.items()}
    found = {key: find_listed(read_as[key], folder=key[1]) for key in ways}
    if not any(found.values()):
        check_copies(listed)
    for key, opened in found.items():
        if opened is None:
            _listed[key] = read_as[key]
        else:
            _opened[key] = opened


def _source_arguments(name: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    if name not in DATASETS:
        raise DATASETS.unknown(name)
    return read_data(name, keys).source_arguments()


def _key(name: str, arguments: Mapping[str, Any], folder: Path) -> _Key:
    return json.dumps([name, arguments], sort_keys=True), folder
