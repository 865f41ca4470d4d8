"""Read a list of pairs of images for verification, in a CSV or Parquet file: `first`, `second`, `same`."""

import os
import posixpath
import re
from pathlib import Path

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES
from mdr_tune.data.listings.listing import Listing, PairList
from mdr_tune.data.listings.listing_checks import examples
from mdr_tune.data.own.table_file import TableFile, read_table_file
from mdr_tune.util.errors import UserError

FIRST, SECOND, SAME = "first", "second", "same"
_ANSWERS = {"1": True, "true": True, "same": True, "0": False, "false": False, "different": False}


def read_pairs(file: Path, listing: Listing) -> PairList:
    """Return the pairs of images in `file`, whose images are in `listing`.

    The columns `first` and `second` have the paths of the images, relative to their folder or absolute; for vectors,
    the numbers of their rows, from 0. The column `same` has 1, true or same if both images are of one class, and 0,
    false or different if not.

    Raises:
        UserError: the file cannot be read; an image is not in `listing`, or not of the validation or test classes; the
            images of a pair are one image, or in two splits; a pair has two answers; or the pairs of a split are all
            of one class, or all of different ones.
    """
    try:
        table = read_table_file(file, {FIRST: FIRST, SECOND: SECOND, SAME: SAME})
        place_of = {_normal(path, listing.root): place for place, path in enumerate(listing.paths)}
        indices = np.stack([_places(table, key, place_of, listing.root) for key in (FIRST, SECOND)], axis=1)
        is_same = _answers(table)
        _check(table, listing, indices, is_same)
    except UserError as error:
        raise UserError(re.sub(r"^data\.\w+:", "data.pairs:", str(error))) from None
    return PairList(indices, is_same)


def _normal(path: str, root: Path) -> str:
    """Return the path of an image in the form that all of its spellings share; a number for the row of a vector."""
    if path.startswith("row "):
        return path.removeprefix("row ")
    return posixpath.normpath(os.path.join(root, path))


def _places(table: TableFile, key: str, place_of: dict[str, int], root: Path) -> np.ndarray:
    """Return the index of the image in each row of the column `key`, (P,)."""
    column = table.text(key, numbers=True)
    if (missing := table.is_missing(column)).any():
        raise table.wrong(key, missing, "name no image")
    named = column.to_pylist()
    places = np.array([place_of.get(name, place_of.get(_normal(name, root), -1)) for name in named], dtype=np.int64)
    if (unknown := places < 0).any():
        some = dict.fromkeys(name for name, is_unknown in zip(named, unknown, strict=True) if is_unknown)
        raise table.wrong(
            key,
            unknown,
            f"name images that are not in the data set, such as {examples(list(some))}: write paths as there, or "
            "leave these pairs out",
        )
    return places


def _answers(table: TableFile) -> np.ndarray:
    """Return the answers, (P,) bool."""
    words = [str(word).strip().lower() for word in table.columns[table.named[SAME]].cast("large_string").to_pylist()]
    if (unknown := np.array([word not in _ANSWERS for word in words])).any():
        some = dict.fromkeys(word for word in words if word not in _ANSWERS)
        raise table.wrong(
            SAME, unknown, f"say neither 1 (true, same) nor 0 (false, different), such as {examples(list(some))}"
        )
    return np.array([_ANSWERS[word] for word in words])


def _check(table: TableFile, listing: Listing, indices: np.ndarray, is_same: np.ndarray) -> None:
    if (itself := indices[:, 0] == indices[:, 1]).any():
        raise table.wrong(SECOND, itself, "name the first image again: leave them out")
    splits = listing.splits[indices]
    training = (splits == SPLIT_NAMES.index("train")).any(axis=1)
    if training.any():
        raise table.wrong(
            FIRST,
            training,
            "have an image of the training classes: leave them out, or make these classes test classes (split_column)",
        )
    if (across := splits[:, 0] != splits[:, 1]).any():
        raise table.wrong(FIRST, across, "have a validation image and a test image: leave them out")
    ordered = np.sort(indices, axis=1)
    _, pair_of = np.unique(ordered, axis=0, return_inverse=True)
    pair_of = pair_of.reshape(-1)
    positive = np.bincount(pair_of, weights=is_same) > 0
    negative = np.bincount(pair_of, weights=~is_same) > 0
    if (contrary := (positive & negative)[pair_of]).any():
        raise table.wrong(SAME, contrary, "have another answer for the same two images: keep the right one of each")
    for split in dict.fromkeys(splits[:, 0].tolist()):
        answers = is_same[splits[:, 0] == split]
        for answer, kind in ((True, "of one class (same: 1)"), (False, "of different classes (same: 0)")):
            if not (answers == answer).any():
                raise UserError(
                    f"data.pairs: {table.file} has no pair of {SPLIT_NAMES[split]} images {kind}, and TAR at FAR needs "
                    "both kinds: add some"
                )
