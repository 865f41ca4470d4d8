"""Check that a listing's splits, classes and roles can be used for training and for retrieval."""

import logging
from collections.abc import Iterable
from itertools import islice

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES
from mdr_tune.data.listings.class_split import MIN_TRAIN_CLASSES
from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY, Listing
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import count

logger = logging.getLogger(__name__)

NUM_EXAMPLES = 3

FEWEST_CLASSES = MIN_TRAIN_CLASSES + 2
"""Smallest number of classes of a data set: `MIN_TRAIN_CLASSES` to train on, one for validation, and one for test."""

_EMPTY = {
    "train": "no image is in the training split: whatever else is drawn or given, there must be classes to train on",
    "validation": "no image is in the validation split: add some, or have classes drawn by data.validation",
    "test": "no image is in the test split: add some, or have classes drawn by data.test, such as {fraction: 0.3}",
}


def examples(values: Iterable[str]) -> str:
    """Return the first few (`NUM_EXAMPLES`) of `values` as text for a message, such as `'a', 'b', 'c'`."""
    return ", ".join(repr(value) for value in islice(values, NUM_EXAMPLES))


def check_roles(listing: Listing) -> None:
    """Raise a UserError if an evaluation cannot use the roles of the images in `listing`.

    Two kinds of split can be used. Either all images have the role `BOTH`, and are compared with each other. Or each is
    `QUERY` or `GALLERY`, and there is at least one query and one gallery image. A mixture is refused, because an image
    with the role `BOTH` would find itself in the gallery. Training images must be `BOTH`.
    """
    if marked := len(listing.rows("train", QUERY, GALLERY)):
        raise UserError(
            f"data: {count(marked, 'training image')} marked as query or gallery, which only validation and test "
            "images can be: leave the mark away, or give them another split"
        )
    for split in SPLIT_NAMES:
        both, queries, gallery = (len(listing.rows(split, role)) for role in (BOTH, QUERY, GALLERY))
        if both and (queries or gallery):
            raise UserError(
                f"data: the {split} split has {count(queries, 'query image')}, {count(gallery, 'gallery image')} and "
                f"{both} that would be both: say query or gallery of each, or of none, if each is to be compared with "
                "all others"
            )
        if queries and not gallery:
            raise UserError(
                f"data: the {split} split has {count(queries, 'query image')}, but no gallery to retrieve from"
            )
        if gallery and not queries:
            raise UserError(f"data: the {split} split has a gallery of {count(gallery, 'image')}, but no queries")


def check_disjoint(listing: Listing) -> None:
    """Raise a UserError if two splits of `listing` share a class. The message names the splits and some of the classes.

    One check, before classes are drawn, is enough: whole classes are drawn, so no class gets into two splits later.
    """
    in_split = np.zeros((len(SPLIT_NAMES), len(listing.class_names)), dtype=bool)
    in_split[listing.splits, listing.class_ids] = True
    shared = np.flatnonzero(in_split.sum(axis=0) > 1)
    if len(shared):
        remark = listing.remark_as_end if len(listing.class_names) < FEWEST_CLASSES else ""
        where = [SPLIT_NAMES[index] for index in np.flatnonzero(in_split[:, shared].any(axis=1))]
        raise UserError(
            f"data: classes in more than one split ({', '.join(where)}): {len(shared):,} of "
            f"{len(listing.class_names):,}, such as {examples(listing.class_names[index] for index in shared)}. "
            "Retrieval is measured on classes that were not trained on, so give each class to one "
            f"split{remark}"
        )


def check_splits(listing: Listing) -> None:
    """Raise a UserError if a split of `listing` is empty, or if train has fewer than `MIN_TRAIN_CLASSES` classes."""
    for split in SPLIT_NAMES:
        if not len(listing.rows(split)):
            raise UserError(f"data: {_EMPTY[split]}")
    if len(listing.classes("train")) < MIN_TRAIN_CLASSES:
        raise UserError(
            f"data: one class is left to train on, and at least {MIN_TRAIN_CLASSES} are needed: add classes, or draw "
            f"fewer for validation and test{listing.remark_as_end}"
        )


def warn_of_easy_splits(listing: Listing) -> None:
    """Log a warning if the validation or test split of `listing` has only one class and no gallery.

    Every image that is retrieved in such a split is of the right class, so its Recall@K has no meaning.
    """
    for split in SPLIT_NAMES[1:]:
        if len(listing.classes(split)) == 1 and not len(listing.rows(split, GALLERY)):
            logger.warning(
                "the %s split has one class: whatever is retrieved is right, and its Recall@K says nothing. "
                "Give it more classes, or draw more by data.%s",
                split,
                split,
            )
