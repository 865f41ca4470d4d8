"""Data sets, opened once a process. Search code gets what it may see; one function reads the test classes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from mdr_tune.data.dataset import ImageDataset, ImageSplit, OpenedDataset
from mdr_tune.data.listings.open_listing import ListedDataset, check_copies, find_listed, open_listed
from mdr_tune.data.outline import DatasetOutline
from mdr_tune.util.cache_folder import cache_dir, check_cache_dir
from mdr_tune.util.progress import Progress, no_progress


class DataSource(Protocol):
    """A data set to be opened, such as `mdr_tune.config.read_data` returns."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    def source_arguments(self) -> dict[str, Any]:
        """Return, as plain values, all that the images and their splits depend on."""

    def listed(self) -> ListedDataset | None:
        """List the image files, draw the splits, and check both; None: the images are no files."""

    def open(self, folder: Path, progress: Progress) -> OpenedDataset:
        """Return a data set whose images are no files; `folder` is the cache folder."""


def load_dataset(data: DataSource, progress: Progress = no_progress) -> ImageDataset:
    """Return the training and validation classes of a data set, its images cached on this machine if they were not.

    Opened once per process and keys, then kept: the images are mapped from a file, or in memory.

    Args:
        data: what to open, such as `mdr_tune.config.read_data("folder", root="images")`.
        progress: is told how far a cache is that has to be made.

    Raises:
        UserError: files are missing, corrupt or not what they should be, or the cache cannot be written.
    """
    return _open(data, progress).searched


def read_test_split(data: DataSource) -> ImageSplit:
    """Return the test classes of a data set: for the final evaluation, and for nothing else.

    Errors are those of `load_dataset`. A test (tests/test_layers.py) holds that one place calls it.
    """
    return _open(data).test


def outline_files(*ways: DataSource) -> DatasetOutline:
    """Return how many images each class of a data set of image files has, and check what can be before one is decoded.

    Images that are decoded already are checked as `load_dataset` does. Otherwise files must be there, the disk have
    room for a cache of them, and no file be a copy of one in another split, unless such are kept. Nothing is written.
    What was listed is kept for the next `load_dataset`.

    Args:
        ways: in which the one data set is read; of several only `resize`, `image_size` and `cache` may differ.

    Raises:
        UserError: as `load_dataset`.
    """
    folder = check_cache_dir()
    wanted = {_key(way, folder): way for way in ways}
    if unopened := {key: way for key, way in wanted.items() if key not in _opened}:
        _look_at(unopened)
    outlines = [_opened[key].outline() for key in wanted if key in _opened]
    return outlines[0] if outlines else _listed[next(iter(wanted))].outline()


def is_decoded(data: DataSource) -> bool:
    """Return whether this process has found the images of a data set decoded, or decoded them."""
    return _key(data, check_cache_dir()) in _opened


def split_sizes(data: DataSource) -> dict[str, tuple[int, int]]:
    """Return how many images and classes each part of a data set has; a test split may be query and gallery.

    Errors are those of `load_dataset`.
    """
    searched, test = _open(data)
    parts = {"train": searched.split("train"), "validation": searched.split("validation")}
    parts |= {"test": test} if test.gallery is None else {"test queries": test, "test gallery": test.gallery}
    return {part: (len(split), split.num_classes) for part, split in parts.items()}


def dataset_content(data: DataSource) -> str:
    """Return a hash of the images of a data set and of their splits: two trials with the same saw the same.

    Errors are those of `load_dataset`.
    """
    return _open(data).searched.content


_Key = tuple[str, Path]  # data set with its source's arguments, and cache folder

_opened: dict[_Key, OpenedDataset] = {}
_listed: dict[_Key, ListedDataset] = {}
"""Data sets that `_look_at` listed and nobody has opened since."""


def _open(data: DataSource, progress: Progress = no_progress) -> OpenedDataset:
    if isinstance(data, str):  # a user's code, which no type checker has seen
        raise TypeError(f"a data set is needed, not its name: mdr_tune.config.read_data({str(data)!r}) makes it")
    folder = cache_dir()
    key = _key(data, folder)
    if key not in _opened and key not in _listed:
        _look_at({key: data})
    if key not in _opened:
        listed = _listed.pop(key, None)
        _opened[key] = data.open(folder, progress) if listed is None else open_listed(listed, folder, progress)
    return _opened[key]


def _look_at(ways: Mapping[_Key, DataSource]) -> None:
    """List a data set of image files, and check it. Open it where it is decoded, and keep the list where it is not.

    Args:
        ways: in which it is read; of several only `resize` and `cache` may differ.
    """
    listed = next(iter(ways.values())).listed()
    if listed is None:
        return
    arguments = {key: way.source_arguments() for key, way in ways.items()}
    read_as = {key: listed.read_as(given["resize"], given["cache"]) for key, given in arguments.items()}
    found = {key: find_listed(read_as[key], folder=key[1]) for key in ways}
    if not any(found.values()):
        check_copies(listed)
    for key, opened in found.items():
        if opened is None:
            _listed[key] = read_as[key]
        else:
            _opened[key] = opened


def _key(data: DataSource, folder: Path) -> _Key:
    return json.dumps([data.name, data.source_arguments()], sort_keys=True), folder
