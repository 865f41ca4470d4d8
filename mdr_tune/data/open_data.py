"""Open each data set once per process. Search code gets training and validation; `read_test_split` gives the rest."""

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
    """Description of a data set to open, as `mdr_tune.config.read_data` returns it."""

    @property
    def name(self) -> str:
        """Name of the data set."""

    def source_arguments(self) -> dict[str, Any]:
        """Return, as plain values, every setting that the images and their splits depend on."""

    def listed(self) -> ListedDataset | None:
        """List the image files, draw the splits, and check both. Return None if the images are not files."""

    def open(self, folder: Path, progress: Progress) -> OpenedDataset:
        """Return a data set whose images are not files. `folder` is the cache folder."""


def load_dataset(data: DataSource, progress: Progress = no_progress) -> ImageDataset:
    """Return the training and validation classes of a data set.

    The images are cached on this machine if they were not before. Each data set is opened once per process and
    settings, and then kept. Its images are mapped from a file, or are in memory.

    Args:
        data: data set to open, such as `mdr_tune.config.read_data("folder", root="images")`.
        progress: function that is told the progress of making the cache.

    Raises:
        UserError: files are missing, corrupt or not what they should be, or the cache cannot be written.
        TypeError: `data` is the name of a data set and not its description.
    """
    return _open(data, progress).searched


def read_test_split(data: DataSource) -> ImageSplit:
    """Return the test classes of a data set, which are for the final evaluation only.

    Errors are those of `load_dataset`. tests/test_layers.py checks that only one place calls this function.
    """
    return _open(data).test


def outline_files(*ways: DataSource) -> DatasetOutline:
    """Return the number of images of each class of a data set, and check the data set without decoding an image.

    The images must be files. Images that are already decoded are checked as by `load_dataset`. Otherwise the files must
    be there, the disk must have room for their cache, and no file may be a copy of a file in another split, unless the
    data set keeps duplicates. Nothing is written. The list of files is kept for the next `load_dataset`.

    Args:
        ways: descriptions of the same data set, which may differ in `resize`, `image_size` and `cache` only.

    Raises:
        UserError: as for `load_dataset`.
    """
    folder = check_cache_dir()
    wanted = {_key(way, folder): way for way in ways}
    if unopened := {key: way for key, way in wanted.items() if key not in _opened}:
        _look_at(unopened)
    outlines = [_opened[key].outline() for key in wanted if key in _opened]
    return outlines[0] if outlines else _listed[next(iter(wanted))].outline()


def is_decoded(data: DataSource) -> bool:
    """Return whether this process has opened a data set, so that its images are decoded."""
    return _key(data, check_cache_dir()) in _opened


def split_sizes(data: DataSource) -> dict[str, tuple[int, int]]:
    """Return the number of images and of classes of each part of a data set, by the part's name.

    The parts are `train`, `validation` and `test`; a test split with a gallery is `test queries` and `test gallery`.
    Errors are those of `load_dataset`.
    """
    searched, test = _open(data)
    parts = {"train": searched.split("train"), "validation": searched.split("validation")}
    parts |= {"test": test} if test.gallery is None else {"test queries": test, "test gallery": test.gallery}
    return {part: (len(split), split.num_classes) for part, split in parts.items()}


def dataset_content(data: DataSource) -> str:
    """Return a hash of a data set's images and splits. Trials with equal hashes saw the same images.

    Errors are those of `load_dataset`.
    """
    return _open(data).searched.content


_Key = tuple[str, Path]  # name and source arguments of a data set, as JSON; cache folder

_opened: dict[_Key, OpenedDataset] = {}
_listed: dict[_Key, ListedDataset] = {}
"""Data sets that `_look_at` has listed and that are not opened yet."""


def _open(data: DataSource, progress: Progress = no_progress) -> OpenedDataset:
    if isinstance(data, str):  # from user code that no type checker has seen
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
    """List and check a data set of image files; do nothing if its images are not files.

    Each way in which the images are already decoded is opened. For the other ways, the list is kept.

    Args:
        ways: descriptions of the same data set, by key. Their source arguments may differ in `resize` and `cache` only.
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
