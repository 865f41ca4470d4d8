"""Find images that have the same pixels. In different splits, they are an error unless `data.duplicates` is "keep".

`check_copied_files` compares the bytes of files before any image is decoded. `check_duplicates` compares pixels.
"""

import logging
from typing import Literal

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES
from mdr_tune.data.images.copies import first_with
from mdr_tune.data.images.fingerprint import file_hashes, file_states
from mdr_tune.data.listings.listing import Listing
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import count

logger = logging.getLogger(__name__)

Duplicates = Literal["refuse", "keep"]

_MIDDLE_BYTES = 4096
_SETS_SHOWN = 3
_IMAGES_SHOWN = 3


def check_duplicates(listing: Listing, first_copies: np.ndarray, duplicates: Duplicates) -> None:
    """Log a warning about images with the same pixels. Raise a UserError if such images are in different splits.

    The message counts the images and their classes, and names some of them.

    Args:
        listing: n images in their splits.
        first_copies: (n,) integers, one for each image. Images with equal pixels have the same number.
        duplicates: "refuse" raises the error, and "keep" logs a warning instead.
    """
    _, copy_of, sizes = np.unique(first_copies, return_inverse=True, return_counts=True)
    if len(sizes) == len(listing):
        return
    in_splits = _num_different(copy_of, listing.splits, len(sizes))
    in_classes = _num_different(copy_of, listing.class_ids, len(sizes))
    is_copy, across = (sizes > 1)[copy_of], (in_splits > 1)[copy_of]
    images = f"{is_copy.sum():,} of {count(len(listing), 'image')} {_in_classes(listing, is_copy)}"
    what = f"{images} have the same pixels as another one"
    elsewhere = f"{across.sum():,} of them {_in_classes(listing, across)} as one in another split"
    if across.any() and duplicates == "refuse":
        raise _refusal(f"{what}, {elsewhere}: {_shown(listing, copy_of, across)}")
    parts = [f"{elsewhere}: {_shown(listing, copy_of, across)}"] if across.any() else []
    if (mixed := (in_classes > 1)[copy_of] & ~across).any():
        parts.append(f"{mixed.sum():,} as one in another class of its split: {_shown(listing, copy_of, mixed)}")
    logger.warning("%s: %s: %s", listing.root, what, "; ".join(parts or [_shown(listing, copy_of, is_copy)]))


def check_copied_files(listing: Listing) -> None:
    """Raise a UserError if files of `listing` have the same bytes as a file in another split, or cannot be read.

    First the sizes of the files are compared, then a few KB from the middle of files of equal size. Only files that are
    still equal are read as a whole. Empty files are ignored: they are not images.
    """
    sizes = [state.size for state in file_states(listing.root, listing.paths)]
    first = first_with([size or -row for row, size in enumerate(sizes)])
    for num_bytes in (_MIDDLE_BYTES, None):  # each round reads only files that are equal so far
        rows = np.flatnonzero(_across_splits(listing, first))
        hashes = file_hashes(listing.root, [listing.paths[row] for row in rows], num_bytes)
        equal = first_with(list(zip(first[rows].tolist(), hashes, strict=True)))
        first = np.arange(len(first))
        first[rows] = rows[equal]
    if (across := _across_splits(listing, first)).any():
        what = f"{across.sum():,} of {count(len(listing), 'image')} {_in_classes(listing, across)} are copies of a file"
        raise _refusal(f"{what} in another split: {_shown(listing, first, across)}")


def _across_splits(listing: Listing, first_copies: np.ndarray) -> np.ndarray:
    """Return a mask, (n,) bool, of images with a copy in another split. Copies share an index in `first_copies`."""
    in_splits = _num_different(first_copies, listing.splits, len(listing))
    across: np.ndarray = in_splits[first_copies] > 1
    return across


def _refusal(what: str) -> UserError:
    return UserError(
        f"data.duplicates: {what}. Nothing may be both trained on and tested: delete the copies (in a table, their "
        "rows), or set data.duplicates: keep"
    )


def _num_different(copy_of: np.ndarray, values: np.ndarray, num_sets: int) -> np.ndarray:
    """Return the number of different `values` in each set of equal images, (num_sets,), such as its number of splits.

    `copy_of`, (n,), has the number of each image's set, 0 .. num_sets - 1; `values`, (n,), has its split, for example.
    """
    pairs = np.unique(np.stack([copy_of, values.astype(np.int64)]), axis=1)
    return np.bincount(pairs[0], minlength=num_sets)


def _in_classes(listing: Listing, rows: np.ndarray) -> str:
    classes = len(np.unique(listing.class_ids[rows]))
    return f"({classes:,} {'class' if classes == 1 else 'classes'})"


def _shown(listing: Listing, copy_of: np.ndarray, rows: np.ndarray) -> str:
    """Return text for a message that names a few sets of equal images, with the split and class of each image.

    Args:
        listing: n images in their splits.
        copy_of: (n,) int64, for each image the number of its set of equal images.
        rows: (n,) bool. Only sets with an image that is True here are named.
    """
    sets = np.unique(copy_of[rows])
    texts = []
    for one in sets[:_SETS_SHOWN]:
        members = np.flatnonzero(copy_of == one)
        # First one image of each split and class, then further images of the same splits and classes.
        _, different = np.unique(np.stack([listing.splits, listing.class_ids])[:, members], axis=1, return_index=True)
        chosen = dict.fromkeys([*members[different].tolist(), *members.tolist()])
        images = [_image(listing, row) for row in list(chosen)[:_IMAGES_SHOWN]]
        texts.append(" = ".join(images) + (" = ..." if len(members) > _IMAGES_SHOWN else ""))
    return "; ".join(texts) + ("; ..." if len(sets) > _SETS_SHOWN else "")


def _image(listing: Listing, row: int) -> str:
    return f"{listing.paths[row]!r} ({SPLIT_NAMES[listing.splits[row]]}, {listing.class_names[listing.class_ids[row]]})"
