"""The list of a data set's image files with their classes and splits. It is made before any image is read."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mdr_tune.data.dataset import (
    SPLIT_NAMES,
    ImageDataset,
    ImagePairs,
    Images,
    ImageSplit,
    OpenedDataset,
    SearchSplitName,
    SplitName,
)

BOTH, QUERY, GALLERY = 0, 1, 2
"""Roles of an image in an evaluation: it is a query and also part of the gallery, or only one of the two."""


@dataclass(frozen=True)
class Listing:
    """The n image files of a data set, with their classes, splits and roles.

    Attributes:
        root: folder that `paths` are relative to.
        paths: paths of the files, with forward slashes; in a user's table, they may be absolute.
        class_ids: (n,) int64, index of each file's class in `class_names`.
        class_names: names of the classes, in an order that does not depend on the machine.
        splits: (n,) int8, index of each file's split in `SPLIT_NAMES`.
        roles: (n,) int8, `BOTH`, `QUERY` or `GALLERY`. Training images are `BOTH`.
        remark: text to add to errors about too few classes, such as which folders were taken for classes; or empty.
    """

    root: Path
    paths: tuple[str, ...]
    class_ids: np.ndarray
    class_names: tuple[str, ...]
    splits: np.ndarray
    roles: np.ndarray
    remark: str = ""

    def __post_init__(self) -> None:
        shapes = {column.shape for column in (self.class_ids, self.splits, self.roles)}
        assert shapes == {(len(self.paths),)}, shapes

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def remark_as_end(self) -> str:
        """The remark as a sentence to append to a message; empty if there is no remark."""
        return f". {self.remark}" if self.remark else ""

    def select(self, rows: np.ndarray) -> "Listing":
        """Return a listing of only the files in `rows`, an array of indices or a boolean mask."""
        rows = np.arange(len(self))[rows]
        return dataclasses.replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            class_ids=self.class_ids[rows],
            splits=self.splits[rows],
            roles=self.roles[rows],
        )

    def rows(self, split: SplitName, *roles: int) -> np.ndarray:
        """Return the indices of the files of `split` (with one of `roles`, if any are given), ascending."""
        mask = self.splits == SPLIT_NAMES.index(split)
        return np.flatnonzero(mask & np.isin(self.roles, roles) if roles else mask)

    def classes(self, split: SplitName) -> np.ndarray:
        """Return the ids of the classes of `split`, ascending."""
        return np.unique(self.class_ids[self.rows(split)])


@dataclass(frozen=True)
class PairList:
    """Pairs of images for verification.

    Attributes:
        indices: (P, 2) int64, indices of the two images of each pair in a `Listing`.
        is_same: (P,) bool, whether both are of one class.
    """

    indices: np.ndarray
    is_same: np.ndarray

    def select(self, rows: np.ndarray, count: int) -> "PairList":
        """Return the pairs both of whose images are in `rows` (m,), of `count` images, with indices into `rows`."""
        place = np.full(count, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        indices = place[self.indices]
        kept = (indices >= 0).all(axis=1)
        return PairList(indices[kept], self.is_same[kept])

    def of_split(self, listing: Listing, split: SplitName) -> int:
        """Return the number of pairs of images of `split`."""
        return int((listing.splits[self.indices[:, 0]] == SPLIT_NAMES.index(split)).sum())


class ChosenImages:
    """Selected images, as `Images`: image i is image `rows[i]` of `images`."""

    def __init__(self, images: Images, rows: np.ndarray) -> None:
        self._images, self._rows = images, torch.from_numpy(rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all images together, (n, C, H, W)."""
        return (len(self._rows), *self._images.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers: uint8 for images, float32 for vectors."""
        return self._images.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        return self._images[self._rows[indices]]


def assemble(
    name: str,
    listing: Listing,
    images: Images,
    recall_ks: tuple[int, ...],
    pixels: str = "",
    cache_file: Path | None = None,
    pairs: PairList | None = None,
) -> OpenedDataset:
    """Build the data set `name` from the n files of `listing` and their pixels.

    Labels are numbered from 0: first the training classes, then the validation and test classes. Within a split, the
    classes are in the order of their ids.

    Args:
        name: name of the data set.
        listing: n files in their splits.
        images: n images. Image i is the one in the file `listing.paths[i]`.
        recall_ks: values of K for which Recall@K is reported.
        pixels: hash of the content of the images, for `ImageDataset.content`.
        cache_file: file of decoded images that the images are read from; None if they are decoded at each read.
        pairs: pairs of images for verification. A split without any compares all of its pairs.
    """
    order = np.concatenate([listing.classes(split) for split in SPLIT_NAMES])
    label_of = np.full(len(listing.class_names), -1, dtype=np.int64)
    label_of[order] = np.arange(len(order))

    def part(rows: np.ndarray, gallery: np.ndarray | None = None) -> ImageSplit:
        labels = torch.from_numpy(label_of[listing.class_ids[rows]])
        both = rows if gallery is None else np.concatenate([rows, gallery])
        chosen = None if pairs is None else pairs.select(both, len(listing))
        compared = None
        if chosen is not None and len(chosen.indices):
            compared = ImagePairs(torch.from_numpy(chosen.indices), torch.from_numpy(chosen.is_same))
        return ImageSplit(
            ChosenImages(images, rows), labels, None if gallery is None else part(gallery), pairs=compared
        )

    def split(split_name: SplitName) -> ImageSplit:
        if not len(listing.rows(split_name, QUERY, GALLERY)):
            return part(listing.rows(split_name))
        return part(listing.rows(split_name, BOTH, QUERY), listing.rows(split_name, BOTH, GALLERY))

    splits: dict[SearchSplitName, ImageSplit] = {"train": split("train"), "validation": split("validation")}
    searched = ImageDataset(name, splits, recall_ks, _content(listing, pixels), cache_file)
    return OpenedDataset(searched, split("test"))


def _content(listing: Listing, pixels: str) -> str:
    """Return a hexadecimal hash of the hash `pixels` and of the paths, classes, splits and roles in `listing`."""
    digest = hashlib.blake2b(repr((pixels, listing.class_names, listing.paths)).encode(), digest_size=10)
    for column in (listing.class_ids, listing.splits, listing.roles):
        digest.update(column.astype(np.int64).tobytes())
    return digest.hexdigest()
