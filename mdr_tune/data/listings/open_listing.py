"""Turn a listing of image files into a data set: draw and check the splits, then open the images."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, Unpack

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES, Images, OpenedDataset, SplitName
from mdr_tune.data.images.cached_images import CachedImages
from mdr_tune.data.images.corrupt import Corrupt
from mdr_tune.data.images.decoding import Interpolation
from mdr_tune.data.images.image_files import DecodedImages, find_images, open_images
from mdr_tune.data.listings.class_split import with_test, with_validation
from mdr_tune.data.listings.duplicates import Duplicates, check_copied_files, check_duplicates
from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY, ChosenImages, Listing, PairList, assemble
from mdr_tune.data.listings.listing_checks import check_disjoint, check_roles, check_splits, warn_of_easy_splits
from mdr_tune.data.listings.pair_list import read_pairs
from mdr_tune.data.listings.single_images import rows_with_something_to_retrieve
from mdr_tune.data.outline import DatasetOutline, SplitOutline
from mdr_tune.util import words
from mdr_tune.util.progress import Progress

logger = logging.getLogger(__name__)


class Opening(TypedDict):
    """Settings for drawing splits and opening images: arguments of `draw_splits` for every source of image files."""

    recall_ks: Sequence[int]
    """Values of K for which Recall@K is reported, ascending."""
    resize: int
    """Height and width that images are resized to, in pixels."""
    interpolation: NotRequired[Interpolation]
    """Filter by which images are resized. Without this key, it is "lanczos"."""
    cache: bool
    """True: images are decoded once and kept in the cache folder. False: images are decoded at each read."""
    corrupt: Corrupt
    """What to do about images that cannot be decoded: raise an error ("refuse") or leave them out ("skip")."""
    single_image_classes: Literal["refuse", "drop", "keep"]
    """What to do about images that have nothing to retrieve; see `rows_with_something_to_retrieve`."""
    duplicates: NotRequired[Duplicates]
    """What to do about images with the same pixels in different splits. Without this key, "refuse" is used."""
    pairs: NotRequired[str]
    """File with a list of pairs of images for verification. Without this key, all pairs of a split are compared."""
    validation: Mapping[str, Any]
    """Settings for drawing the validation classes. They are used if the listing has none; see `with_validation`."""
    test: Mapping[str, Any] | None
    """Settings for drawing the test classes. They are used if the listing has none. None: no test classes are drawn."""


class ListedDataset(NamedTuple):
    """The data set `name` of image files after `draw_splits`: the splits are checked, but no image has been read.

    `listing` has only the images that are used, each in its split. `opening` has the arguments of `draw_splits`.
    `pairs` are those for verification, if there is a list of them.
    """

    name: str
    listing: Listing
    opening: Opening
    pairs: PairList | None = None

    def outline(self) -> DatasetOutline:
        """Return the number of images of each class of each split."""
        return DatasetOutline(self.name, *(_outline(self.listing, split, self.pairs) for split in SPLIT_NAMES))

    def read_as(self, resize: int, cache: bool, interpolation: Interpolation = "lanczos") -> "ListedDataset":
        """Return the same data set, whose images are read in another way. `Opening` explains the arguments."""
        how: Any = {"resize": resize, "cache": cache, "interpolation": interpolation}
        return self._replace(opening={**self.opening, **how})

    def reading(self) -> dict[str, Any]:
        """Return the arguments of `open_images` and `find_images` that say how the images are read."""
        opening = self.opening
        return {
            "resize": opening["resize"],
            "cache": opening["cache"],
            "corrupt": opening["corrupt"],
            "interpolation": opening.get("interpolation", "lanczos"),
        }


def _outline(listing: Listing, split: SplitName, pairs: PairList | None) -> SplitOutline:
    has_gallery = len(listing.rows(split, QUERY, GALLERY)) > 0
    rows = listing.rows(split, BOTH, QUERY) if has_gallery else listing.rows(split)
    _, sizes = np.unique(listing.class_ids[rows], return_counts=True)
    gallery = len(listing.rows(split, BOTH, GALLERY)) if has_gallery else None
    return SplitOutline(tuple(sizes.tolist()), gallery, pairs.of_split(listing, split) if pairs is not None else None)


def draw_splits(name: str, listing: Listing, **opening: Unpack[Opening]) -> ListedDataset:
    """Draw validation and test classes for the data set `name`, and check all that needs no image.

    `listing` may lack validation and test images. `opening` has the arguments that the class `Opening` explains.

    Raises:
        UserError: a split is empty or cannot be drawn; a class is in two splits; `check_roles` refuses the roles of the
            images; or images have nothing to retrieve, and `single_image_classes` is "refuse".
    """
    check_roles(listing)
    check_disjoint(listing)  # first: an image in a wrong split is often the only one of its class there
    listing = listing.select(rows_with_something_to_retrieve(listing, opening["single_image_classes"]))
    if len(listing.rows("train")):  # without any, check_splits has a better message than drawing would
        if opening["test"]:
            listing = with_test(listing, opening["test"])
        listing = with_validation(listing, opening["validation"])
    _check(listing)
    pairs = read_pairs(Path(file), listing) if (file := opening.get("pairs")) is not None else None
    return ListedDataset(name, listing, opening, pairs)


def open_listed(listed: ListedDataset, folder: Path, progress: Progress) -> OpenedDataset:
    """Open the images of `listed`, a result of `draw_splits`, and return the data set with its images.

    All images are decoded unless this was done before, into the cache folder `folder` if they are cached. `progress` is
    called meanwhile. The splits have been drawn, so leaving out a corrupt image does not move others between splits.

    Raises:
        UserError: files are missing or corrupt; a split is empty, or images have nothing to retrieve, after corrupt
            images were left out; or images with the same pixels are in different splits, and `duplicates` is "refuse".
    """
    name, listing = listed.name, listed.listing
    found = open_images(name, listing.root, listing.paths, folder, progress, **listed.reading())
    return _assembled(listed, *found)


def find_listed(listed: ListedDataset, folder: Path) -> OpenedDataset | None:
    """Return what `open_listed` would return for `listed`; None if `open_listed` would have to decode images.

    Errors are those of `open_listed`: even if the result is None, missing files and a disk without room for the cache
    are errors. Nothing is written, and the cache folder `folder` need not exist.
    """
    name, listing = listed.name, listed.listing
    found = find_images(name, listing.root, listing.paths, folder, **listed.reading())
    return None if found is None else _assembled(listed, *found)


def check_copies(listed: ListedDataset) -> None:
    """Raise a UserError if a file of `listed` is a copy of a file in another split. No image is decoded.

    Nothing is checked if `duplicates` is "keep" or if `corrupt` is "skip". With "skip", it is not known yet which
    images will be used, and `open_listed` checks them.
    """
    if (listed.opening.get("duplicates", "refuse"), listed.opening["corrupt"]) == ("refuse", "refuse"):
        check_copied_files(listed.listing)


def _assembled(listed: ListedDataset, pixels: CachedImages | DecodedImages, readable: np.ndarray) -> OpenedDataset:
    """Check and return the data set of the m images of `listed` that can be decoded.

    `pixels` are these m images, and `readable`, (m,) int64, has their indices in `listed.listing`.
    """
    name, listing, opening, pairs = listed
    images: Images = pixels
    first_copies = pixels.first_copies()
    if len(readable) < len(listing):
        before = len(listing)
        listing = listing.select(readable)
        kept = rows_with_something_to_retrieve(listing, opening["single_image_classes"])
        pairs = _left_of(pairs, readable[kept], before)
        listing, images, first_copies = listing.select(kept), ChosenImages(images, kept), first_copies[kept]
        _check(listing)
    check_duplicates(listing, first_copies, opening.get("duplicates", "refuse"))
    warn_of_easy_splits(listing)
    return assemble(name, listing, images, tuple(opening["recall_ks"]), pixels.content, pixels.cache_file, pairs)


def _left_of(pairs: PairList | None, rows: np.ndarray, count: int) -> PairList | None:
    """Return the `pairs` of images in `rows`, of `count` images, and warn of those whose images are left out."""
    if pairs is None:
        return None
    left = pairs.select(rows, count)
    if gone := len(pairs.indices) - len(left.indices):
        logger.warning("data.pairs: %s have an image that is left out, and are not compared", words.count(gone, "pair"))
    return left


def _check(listing: Listing) -> None:
    check_roles(listing)
    check_splits(listing)
