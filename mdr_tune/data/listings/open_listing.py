"""From the listing of a data set's files to the data set: splits drawn and checked, images ready to be read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, Unpack

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES, Images, OpenedDataset, SplitName
from mdr_tune.data.images.cached_images import CachedImages
from mdr_tune.data.images.corrupt import Corrupt
from mdr_tune.data.images.image_files import DecodedImages, find_images, open_images
from mdr_tune.data.listings.class_split import with_test, with_validation
from mdr_tune.data.listings.duplicates import Duplicates, check_copied_files, check_duplicates
from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY, ChosenImages, Listing, assemble
from mdr_tune.data.listings.listing_checks import check_disjoint, check_roles, check_splits, warn_of_easy_splits
from mdr_tune.data.listings.single_images import rows_with_something_to_retrieve
from mdr_tune.data.outline import DatasetOutline, SplitOutline
from mdr_tune.util.progress import Progress, no_progress


class Opening(TypedDict):
    """What every source of image files is given beside the files, and passes on to `open_listing`."""

    recall_ks: Sequence[int]
    """The ranks K at which Recall@K is measured, ascending."""
    resize: int
    """Height and width that images are brought to, in pixels."""
    cache: bool
    """Whether images are decoded once and kept in the cache folder, or decoded each time they are read."""
    corrupt: Corrupt
    """What becomes of images that cannot be decoded."""
    single_image_classes: Literal["refuse", "drop", "keep"]
    """What becomes of images that have nothing to retrieve."""
    duplicates: NotRequired[Duplicates]
    """What becomes of images with the same pixels in different splits; they are refused unless given."""
    validation: Mapping[str, Any]
    """Which classes are for validation, unless the listing says so itself; as `with_validation` takes it."""
    test: Mapping[str, Any] | None
    """Which classes are for the test, unless the listing says so itself."""


class ListedDataset(NamedTuple):
    """A data set of image files of which no image has been read: its splits are drawn and checked.

    Attributes:
        name: of the data set.
        listing: of the images that are used, each in its split.
        opening: how they are to be opened.
    """

    name: str
    listing: Listing
    opening: Opening

    def outline(self) -> DatasetOutline:
        """Return how many images each class has."""
        return DatasetOutline(self.name, *(_outline(self.listing, split) for split in SPLIT_NAMES))

    def read_as(self, resize: int, cache: bool) -> "ListedDataset":
        """Return the same images, to be brought to another size or kept otherwise."""
        return self._replace(opening={**self.opening, "resize": resize, "cache": cache})


def _outline(listing: Listing, split: SplitName) -> SplitOutline:
    has_gallery = len(listing.rows(split, QUERY, GALLERY)) > 0
    rows = listing.rows(split, BOTH, QUERY) if has_gallery else listing.rows(split)
    _, sizes = np.unique(listing.class_ids[rows], return_counts=True)
    return SplitOutline(tuple(sizes.tolist()), len(listing.rows(split, BOTH, GALLERY)) if has_gallery else None)


def draw_splits(name: str, listing: Listing, **opening: Unpack[Opening]) -> ListedDataset:
    """Draw the classes of the splits, and check everything that can be before an image is read.

    Args:
        name: of the data set.
        listing: of its files; validation and test images may be missing.
        opening: see `Opening`.

    Raises:
        UserError: a split is empty or cannot be drawn; a class is in two splits; images have nothing to retrieve.
    """
    check_roles(listing)
    check_disjoint(listing)  # first: a stray image in another split is also the only one of its class there
    listing = listing.select(rows_with_something_to_retrieve(listing, opening["single_image_classes"]))
    if len(listing.rows("train")):  # without any, check_splits knows a better message than a draw would
        if opening["test"]:
            listing = with_test(listing, opening["test"])
        listing = with_validation(listing, opening["validation"])
    _check(listing)
    return ListedDataset(name, listing, opening)


def open_listing(
    name: str, listing: Listing, folder: Path, progress: Progress, **opening: Unpack[Opening]
) -> OpenedDataset:
    """Draw the splits of a listing, and open them: `draw_splits`, then `open_listed`, whose errors it has."""
    return open_listed(draw_splits(name, listing, **opening), folder, progress)


def open_listed(listed: ListedDataset, folder: Path, progress: Progress) -> OpenedDataset:
    """Return the data set with its images, decoded once.

    Classes have been drawn from those listed, so that an image that turns out corrupt does not move others between
    splits.

    Args:
        listed: what `draw_splits` made.
        folder: the cache folder.
        progress: is told how far the making of the cache is.

    Raises:
        UserError: files are missing or corrupt; without the corrupt ones a split is empty, or images have nothing to
            retrieve; an image is in two splits.
    """
    name, listing, opening = listed
    found = open_images(
        name,
        listing.root,
        listing.paths,
        folder,
        progress,
        resize=opening["resize"],
        cache=opening["cache"],
        corrupt=opening["corrupt"],
    )
    return _assembled(listed, *found)


def find_listed(listed: ListedDataset, folder: Path) -> OpenedDataset | None:
    """Return what `open_listed` would; None if it would have to decode images. Nothing is written.

    Without decoded images, files must be there, and the disk have room for a cache of them.

    Args:
        listed: what `draw_splits` made.
        folder: the cache folder, which need not exist.

    Raises:
        UserError: as `open_listed`.
    """
    name, listing, opening = listed
    found = find_images(
        name,
        listing.root,
        listing.paths,
        folder,
        resize=opening["resize"],
        cache=opening["cache"],
        corrupt=opening["corrupt"],
    )
    return None if found is None else _assembled(listed, *found)


def check_copies(listed: ListedDataset) -> None:
    """Check, before an image is decoded, that no file is a copy of one in another split, unless such are kept.

    Where corrupt images are skipped, it is known only later which images are used: `open_listed` looks then.

    Raises:
        UserError: some are.
    """
    if (listed.opening.get("duplicates", "refuse"), listed.opening["corrupt"]) == ("refuse", "refuse"):
        check_copied_files(listed.listing)


def _assembled(listed: ListedDataset, pixels: CachedImages | DecodedImages, readable: np.ndarray) -> OpenedDataset:
    """Return the data set of the images that can be read, `readable` (m,) int64 of those listed, once checked."""
    name, listing, opening = listed
    images: Images = pixels
    first_copies = pixels.first_copies()
    if len(readable) < len(listing):
        listing = listing.select(readable)
        kept = rows_with_something_to_retrieve(listing, opening["single_image_classes"])
        listing, images, first_copies = listing.select(kept), ChosenImages(images, kept), first_copies[kept]
        _check(listing)
    check_duplicates(listing, first_copies, opening.get("duplicates", "refuse"))
    warn_of_easy_splits(listing)
    return assemble(name, listing, images, tuple(opening["recall_ks"]), pixels.content, pixels.cache_file)


class ImageFileSource(ABC):
    """A data set of image files as the catalog has it: listed without reading an image, or, called, opened."""

    @abstractmethod
    def listed(self, *args: Any, **arguments: Any) -> ListedDataset:
        """List the files, draw the splits, and check both.

        Args:
            args: none.
            arguments: as of the data set's class in `mdr_tune.config.data`; plain values.
        """

    def __call__(self, folder: Path, progress: Progress = no_progress, **arguments: Any) -> OpenedDataset:
        """Return the data set; `folder` is the cache folder, `progress` is told how far the making of a cache is."""
        return open_listed(self.listed(**arguments), folder, progress)


def _check(listing: Listing) -> None:
    check_roles(listing)
    check_splits(listing)
