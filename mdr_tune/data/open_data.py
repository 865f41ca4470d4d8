"""Open data sets, each once per process.

`load_dataset` returns the training and validation classes, and `read_test_split` returns the test classes.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from mdr_tune.data.dataset import ImageDataset, ImageSplit, OpenedDataset, SplitName
from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY
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
        """Return all settings that the images and their splits depend on, as values that JSON can hold."""

    def listed(self) -> ListedDataset | None:
        """Return the data set's image files in splits, all checked. Return None if it has no image files."""

    def open(self, folder: Path, progress: Progress) -> OpenedDataset:
        """Open a data set without image files, such as `glyphs`. `folder` is the cache folder. Report to `progress`."""


def load_dataset(data: DataSource, progress: Progress = no_progress) -> ImageDataset:
    """Open the data set `data`, and return its training and validation classes.

    The first call on a machine decodes all images, and keeps them in the cache folder unless the data set sets
    `cache: false`. It calls `progress` meanwhile. Later calls in this process with equal settings return at once.

    Raises:
        UserError: files are missing or corrupt, the splits cannot be drawn, or the cache folder cannot be written to.
        TypeError: `data` is the name of a data set instead of the result of `mdr_tune.config.read_data`.
    """
    return _open(data, progress).searched


def read_test_split(data: DataSource) -> ImageSplit:
    """Return the test classes of `data`, for a final evaluation only. Errors are those of `load_dataset`.

    tests/test_layers.py checks that only the final evaluation of a sweep and `mdr-tune evaluate` call this function.
    """
    return _open(data).test


def outline_files(*ways: DataSource) -> DatasetOutline:
    """Check the image files of a data set without decoding an image. Return the number of images of each class.

    If the images have been decoded before, the checks and errors are those of `load_dataset`. Otherwise, all files must
    exist, the disk must have room for their cache, and no file may be a copy of a file in another split. Copies are
    allowed if the data set keeps duplicates or skips corrupt images. Nothing is written to the disk. The list of files
    is kept in memory for the next `load_dataset`.

    `ways` are descriptions of one data set, such as those of trials that search `resize`. They may differ in `resize`,
    `interpolation`, `image_size` and `cache` only.
    """
    folder = check_cache_dir()
    wanted = {_key(way, folder): way for way in ways}
    if unopened := {key: way for key, way in wanted.items() if key not in _opened}:
        _look_at(unopened)
    outlines = [_opened[key].outline() for key in wanted if key in _opened]
    return outlines[0] if outlines else _listed[next(iter(wanted))].outline()


def is_decoded(data: DataSource) -> bool:
    """Return whether this process has opened the data set `data`. If so, all of its images have been decoded once."""
    return _key(data, check_cache_dir()) in _opened


def split_sizes(data: DataSource) -> dict[str, tuple[int, int]]:
    """Return (number of images, number of classes) of each part of the data set `data`, by the name of the part.

    The parts are `train`, `validation` and `test`. A test split with a gallery is two parts, `test queries` and
    `test gallery`. Errors are those of `load_dataset`.
    """
    searched, test = _open(data)
    parts = {"train": searched.split("train"), "validation": searched.split("validation")}
    parts |= {"test": test} if test.gallery is None else {"test queries": test, "test gallery": test.gallery}
    return {part: (len(split), split.num_classes) for part, split in parts.items()}


def split_files(data: DataSource, name: SplitName) -> tuple[list[str], list[str]] | None:
    """Return the absolute paths of the image files of the split `name` of `data`, and those of its gallery, in order.

    The second list is empty if the split has no gallery. The result is None if the images are not in files, or if an
    image was left out when they were decoded, so that the files of the others are not known.
    """
    listed = data.listed()
    if listed is None:
        return None
    listing = listed.listing
    with_roles = len(listing.rows(name, QUERY, GALLERY)) > 0
    rows = [listing.rows(name, BOTH, QUERY), listing.rows(name, BOTH, GALLERY)]
    queries, gallery = rows if with_roles else (listing.rows(name), rows[0][:0])
    root = str(listing.root.absolute())
    paths = [os.path.normpath(os.path.join(root, path)) for path in listing.paths]
    searched, test = _open(data)
    split = test if name == "test" else searched.split(name)
    if (len(queries), len(gallery)) != (len(split), 0 if split.gallery is None else len(split.gallery)):
        return None
    return [paths[row] for row in queries], [paths[row] for row in gallery]


def dataset_content(data: DataSource) -> str:
    """Return a hash of the images and splits of `data`. It is the same for all trials that use the same images."""
    return _open(data).searched.content


_Key = tuple[str, Path]  # name and source arguments of a data set, as JSON; cache folder

_opened: dict[_Key, OpenedDataset] = {}
_listed: dict[_Key, ListedDataset] = {}
"""Data sets whose files `_look_at` has listed and whose images are not opened yet."""


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
    """List and check a data set of image files, and keep the result. Do nothing for a data set without image files.

    `ways` has descriptions of one data set, by their `_key`. They differ in `resize`, `interpolation` and `cache` only.
    If the images of a description have been decoded before, the opened data set is kept in `_opened`. If not, the list
    of its files is kept in `_listed`.
    """
    listed = next(iter(ways.values())).listed()
    if listed is None:
        return
    arguments = {key: way.source_arguments() for key, way in ways.items()}
    how = ("resize", "cache", "interpolation")
    read_as = {key: listed.read_as(**{k: given[k] for k in how if k in given}) for key, given in arguments.items()}
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
