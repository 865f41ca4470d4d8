"""Find images with nothing to retrieve: the only image of its class, or a query whose class is not in the gallery."""

import logging

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES
from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY, Listing
from mdr_tune.data.listings.listing_checks import examples
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import count

logger = logging.getLogger(__name__)


def rows_with_something_to_retrieve(listing: Listing, single_image_classes: str) -> np.ndarray:
    """Return the indices of the images in `listing` to use, ascending. Images with nothing to retrieve may be left out.

    A query has something to retrieve if the gallery has an image of its class. In a split without a gallery, an image
    has something to retrieve if the split has another image of its class. Gallery images are never left out.

    `single_image_classes` says what to do about images with nothing to retrieve. "keep": they stay, and count as
    misses. "drop": they are left out, with a warning. "refuse": a UserError is raised, which names some of the classes.
    """
    alone = _alone(listing)
    if single_image_classes == "keep" or not alone.any():
        return np.arange(len(listing))
    classes = np.unique(listing.class_ids[alone])
    share = f"{len(classes):,} of {count(len(listing.class_names), 'class')}"
    what = (
        f"nothing to retrieve in {share}, which have a single image "
        f"in their split, or none in the gallery: {examples(listing.class_names[index] for index in classes)}"
    )
    if single_image_classes == "refuse":
        raise UserError(
            f"data.single_image_classes: {what}. Add images, or set data.single_image_classes: drop to leave them out"
        )
    logger.warning("%s. Left out: %d of %d images", what, alone.sum(), len(listing))
    return np.flatnonzero(~alone)


def _alone(listing: Listing) -> np.ndarray:
    """Return a mask of the images of `listing` that have nothing to retrieve, (n,) bool."""
    num_classes = len(listing.class_names)
    group = listing.splits.astype(np.int64) * num_classes + listing.class_ids  # a class within a split
    in_gallery = np.bincount(group[listing.roles != QUERY], minlength=len(SPLIT_NAMES) * num_classes)
    retrievable = in_gallery[group] - (listing.roles == BOTH)  # an image does not retrieve itself
    alone: np.ndarray = (listing.roles != GALLERY) & (retrievable == 0)
    return alone
