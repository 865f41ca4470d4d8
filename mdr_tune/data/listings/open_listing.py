"""Turn a listing of image files into a data set: draw and check the splits, then open the images."""

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
from mdr_tune.util.progress import Progress


class Opening(TypedDict):
    """Arguments that every source of image files takes beside those for the files, and passes on to `draw_splits`."""

    recall_ks: Sequence[int]
    """The ranks K at which Recall@K is measured, ascending."""
    resize: int
    """Height and width that images are resized to, in pixels."""
    cache: bool
    """Whether images are decoded once and kept in the cache folder, or decoded at each read."""
    corrupt: Corrupt
    """What to do about images that cannot be decoded."""
    single_image_classes: Literal["refuse", "drop", "keep"]
    """What to do about images that have nothing to retrieve."""
    duplicates: NotRequired[Duplicates]
    """What to do about images with the same pixels in different splits; "refuse" if the key is left out."""
    validation: Mapping[str, Any]
    """How to draw the validation classes if the listing has none; see `with_validation`."""
    test: Mapping[str, Any] | None
    """How to draw the test classes if the listing has none; None draws none."""


class ListedDataset(NamedTuple):
    """A data set of image files whose splits are drawn and checked, but of which no image has been read.

    Attributes:
        name: name of the data set.
        listing: listing of the images that are used, each in its split.
        opening: arguments for drawing the splits and opening the images.
    """

    name: str
    listing: Listing
    opening: Opening

    def outline(self) -> DatasetOutline:
        """Return how many images each class has."""
        return DatasetOutline(self.name, *(_outline(self.listing, split) for split in SPLIT_NAMES))

    def read_as(self, resize: int, cache: bool) -> "ListedDataset":
        """Return the same data set with another `resize` and `cache`, see `Opening`."""
        return self._replace(opening={**self.opening, "resize": resize, "cache": cache})


def _outline(listing: Listing, split: SplitName) -> SplitOutline:
    has_gallery = len(listing.rows(split, QUERY, GALLERY)) > 0
    rows = listing.rows(split, BOTH, QUERY) if has_gallery else listing.rows(split)
    _, sizes = np.unique(listing.class_ids[rows], return_counts=True)
    return SplitOutline(tuple(sizes.tolist()), len(listing.rows(split, BOTH, GALLERY)) if has_gallery else None)


def draw_splits(name: str, listing: Listing, **opening: Unpack[Opening]) -> ListedDataset:
    """Draw the classes of the splits, and check everything that can be checked before an image is read.

    Args:
        name: name of the data set.
        listing: listing of its files; it may lack validation and test images.
        opening: see `Opening`.

    Raises:
        UserError: a split is empty or cannot be drawn; a class is in two splits; roles are not as `check_roles` wants
            them; images have nothing to retrieve, and are refused.
    """
    check_roles(listing)
    check_disjoint(listing)  # first: a stray image in a wrong split is also the only one of its class there
    listing = listing.select(rows_with_something_to_retrieve(listing, opening["single_image_classes"]))
    if len(listing.rows("train")):  # without any, check_splits has a better message than drawing would
        if opening["test"]:
            listing = with_test(listing, opening["test"])
        listing = with_validation(listing, opening["validation"])
    _check(listing)
    return ListedDataset(name, listing, opening)


def open_listing(
    name: str, listing: Listing, folder: Path, progress: Progress, **opening: Unpack[Opening]
) -> OpenedDataset:
    """Draw the splits of a listing and open the data set: `draw_splits`, then `open_listed`, with their errors."""
    return open_listed(draw_splits(name, listing, **opening), folder, progress)


def open_listed(listed: ListedDataset, folder: Path, progress: Progress) -> OpenedDataset:
    """Return the data set with its images, all of which have been decoded at least once.

    The classes of the splits have been drawn from the listing already, so that a corrupt image does not move other
    images between splits.

    Args:
        listed: data set from `draw_splits`.
        folder: the cache folder.
        progress: callback that is told how far the building of the cache is.

    Raises:
        UserError: files are missing or corrupt; without the corrupt ones a split is empty, or images have nothing to
            retrieve; images with the same pixels are in different splits, and are refused.
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
    """Return what `open_listed` would return; None if `open_listed` would have to decode images. Nothing is written.

    If images would have to be decoded, the files must exist, and the disk must have room for a cache of them.

    Args:
        listed: data set from `draw_splits`.
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
    """Check, before any image is decoded, that no file is a copy of a file in another split.

    Nothing is checked if such copies are kept, or if corrupt images are skipped. In the latter case it is not known yet
    which images are used, and `open_listed` finds the copies.

    Raises:
        UserError: there are such copies.
    """
    if (listed.opening.get("duplicates", "refuse"), listed.opening["corrupt"]) == ("refuse", "refuse"):
        check_copied_files(listed.listing)


def _assembled(listed: ListedDataset, pixels: CachedImages | DecodedImages, readable: np.ndarray) -> OpenedDataset:
    """Return the data set of the images that can be decoded, after checking it.

    Args:
        listed: data set from `draw_splits`.
        pixels: m images.
        readable: (m,) int64, the index of each in the listing.
    """
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


def _check(listing: Listing) -> None:
    check_roles(listing)
    check_splits(listing)
