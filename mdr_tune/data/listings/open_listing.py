"""From the listing of a data set's files to the data set: splits drawn and checked, images ready to be read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, Unpack

from mdr_tune.data.dataset import Images, OpenedDataset
from mdr_tune.data.images.image_files import open_images
from mdr_tune.data.listings.class_split import with_test, with_validation
from mdr_tune.data.listings.duplicates import Duplicates, check_duplicates
from mdr_tune.data.listings.listing import ChosenImages, Listing, assemble
from mdr_tune.data.listings.listing_checks import check_disjoint, check_roles, check_splits, warn_of_easy_splits
from mdr_tune.data.listings.single_images import rows_with_something_to_retrieve
from mdr_tune.progress import Progress


class Opening(TypedDict):
    """What every source of image files is given beside the files, and passes on to `open_listing`."""

    recall_ks: Sequence[int]
    """The ranks K at which Recall@K is measured, ascending."""
    resize: int
    """Height and width that images are brought to, in pixels."""
    cache: bool
    """Whether images are decoded once and kept in the cache folder, or decoded each time they are read."""
    corrupt: Literal["refuse", "skip"]
    """What becomes of images that cannot be decoded."""
    single_image_classes: Literal["refuse", "drop", "keep"]
    """What becomes of images that have nothing to retrieve."""
    duplicates: NotRequired[Duplicates]
    """What becomes of images with the same pixels in different splits; they are refused unless given."""
    validation: Mapping[str, Any]
    """Which classes are for validation, unless the listing says so itself; as `with_validation` takes it."""
    test: Mapping[str, Any] | None
    """Which classes are for the test, unless the listing says so itself."""


def open_listing(
    name: str, listing: Listing, folder: Path, progress: Progress, **opening: Unpack[Opening]
) -> OpenedDataset:
    """Return the data set of a listing.

    Classes are drawn, and everything that can be is checked, before an image is read: reading all may take long.
    Classes are thus drawn from those listed, so that an image that turns out corrupt does not move others between
    splits.

    Args:
        name: of the data set.
        listing: of its files; validation and test images may be missing.
        folder: the cache folder.
        progress: is told how far the making of the cache is.
        opening: see `Opening`.

    Raises:
        UserError: files are missing or corrupt; a split is empty or cannot be drawn; a class is in two splits, or an
            image; images have nothing to retrieve.
    """
    check_roles(listing)
    check_disjoint(listing)  # first: a stray image in another split is also the only one of its class there
    listing = listing.select(rows_with_something_to_retrieve(listing, opening["single_image_classes"]))
    if len(listing.rows("train")):  # without any, check_splits knows a better message than a draw would
        if opening["test"]:
            listing = with_test(listing, opening["test"])
        listing = with_validation(listing, opening["validation"])
    _check(listing)
    pixels, readable = open_images(
        name,
        listing.root,
        listing.paths,
        folder,
        progress,
        resize=opening["resize"],
        cache=opening["cache"],
        corrupt=opening["corrupt"],
    )
    images: Images = pixels
    first_copies = pixels.first_copies()
    if len(readable) < len(listing):
        listing = listing.select(readable)
        kept = rows_with_something_to_retrieve(listing, opening["single_image_classes"])
        listing, images, first_copies = listing.select(kept), ChosenImages(images, kept), first_copies[kept]
        _check(listing)
    check_duplicates(listing, first_copies, opening.get("duplicates", "refuse"))
    warn_of_easy_splits(listing)
    return assemble(name, listing, images, tuple(opening["recall_ks"]), pixels.content)


def _check(listing: Listing) -> None:
    check_roles(listing)
    check_splits(listing)
