"""Choose at random which of the training classes become validation and test classes.

Whole classes are drawn, because retrieval is measured on classes that the network was not trained on.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES, SplitName
from mdr_tune.data.listings.listing import Listing
from mdr_tune.data.seeding import derive_seed
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import count

MIN_TRAIN_CLASSES = 2
"""Smallest number of classes to train on. With one class there would be no negatives, and so nothing to learn."""


def draw_classes(
    class_ids: np.ndarray | Sequence[int],
    purpose: str,
    *,
    fraction: float | None = None,
    folds: int | None = None,
    fold: int = 0,
    seed: int = 0,
) -> np.ndarray:
    """Draw a fraction of the classes, or one of several folds. Return the ids of the drawn classes, ascending.

    The classes are put in a random order that depends only on their ids, `purpose` and `seed`. The fraction is taken
    from the front of this order. So with the same seed, the classes of a smaller fraction are also in a larger one. The
    folds are consecutive parts of the order: each class is in exactly one fold, and sizes differ by at most one class.

    Args:
        class_ids: (n,) integers, the ids of the classes. An id may occur more than once, such as once for each image.
        purpose: name of the split that the classes are drawn for, "validation" or "test".
        fraction: share of the classes to draw, rounded to at least one class. Give either `fraction` or `folds`.
        folds: number of folds.
        fold: index of the fold to return, 0 .. folds - 1.
        seed: seed of the random order.

    Raises:
        UserError: a number is out of range, or fewer than `MIN_TRAIN_CLASSES` would be left to train on.
        ValueError: `fraction` and `folds` are both given, or neither is given.
    """
    if (fraction is None) == (folds is None):
        raise ValueError(f"give fraction or folds, one of them; got {fraction} and {folds}")
    classes = np.unique(class_ids)
    order = np.random.default_rng(derive_seed(f"{purpose} classes", seed)).permutation(classes)
    if fraction is not None:
        key = f"data.{purpose}.fraction"
        if not 0 < fraction < 1:
            raise UserError(f"{key}: {fraction} is not between 0 and 1")
        drawn = order[: max(1, round(fraction * len(order)))]
    else:
        assert folds is not None
        key = f"data.{purpose}.folds"
        _check_fold(purpose, folds, fold, len(order))
        drawn = np.array_split(order, folds)[fold]
    left = len(order) - len(drawn)
    if left < MIN_TRAIN_CLASSES:
        raise UserError(
            f"{key}: of {count(len(order), 'training class')}, {len(drawn)} would be drawn and "
            f"{left} left to train on, which takes at least {MIN_TRAIN_CLASSES}: draw fewer, or add classes"
        )
    return np.sort(drawn)


def _check_fold(purpose: str, folds: int, fold: int, num_classes: int) -> None:
    if folds < 2:
        raise UserError(f"data.{purpose}.folds: {folds} is not enough, it takes at least 2")
    if not 0 <= fold < folds:
        raise UserError(f"data.{purpose}.fold: {fold} is none of 0 .. {folds - 1}, the folds there are")
    if folds > num_classes:
        raise UserError(
            f"data.{purpose}.folds: {folds} folds are more than the classes, of which there are {num_classes}: "
            "a fold needs one at least"
        )


def with_validation(listing: Listing, validation: Mapping[str, Any]) -> Listing:
    """Return `listing`. If it has no validation classes, some of its training classes become validation classes.

    `validation` has arguments of `draw_classes`: `fraction` and `seed`, or `folds`, `fold` and `seed`. Errors are those
    of `draw_classes`; folds of classes that are given already are an error, too.
    """
    check_nothing_given(len(listing.rows("validation")), validation)
    return _with_drawn(listing, "validation", validation)


def check_nothing_given(given: int, validation: Mapping[str, Any]) -> None:
    """Raise a UserError if `validation` asks for folds, but the data set has `given` validation images of its own.

    All folds would have the same classes.
    """
    if given and validation.get("folds") is not None:
        raise UserError(
            f"data.validation.folds: the data set says itself which classes are for validation "
            f"({count(given, 'image')}), and every fold would have these: mark them as training images, or leave folds "
            "out"
        )


def with_test(listing: Listing, test: Mapping[str, Any]) -> Listing:
    """Return `listing`. If it has no test classes, some of its training classes become test classes.

    `test` has arguments of `draw_classes`, as in `with_validation`. Call `with_test` before `with_validation`, so that
    the test classes are the same in all folds of a cross-validation.
    """
    return _with_drawn(listing, "test", test)


def _with_drawn(listing: Listing, split: SplitName, share: Mapping[str, Any]) -> Listing:
    if len(listing.rows(split)):
        return listing
    try:
        drawn = draw_classes(listing.classes("train"), split, **share)
    except UserError as error:
        raise UserError(f"{error}{listing.remark_as_end}") from None
    rows = listing.rows("train")
    splits = listing.splits.copy()
    splits[rows[np.isin(listing.class_ids[rows], drawn)]] = SPLIT_NAMES.index(split)
    return dataclasses.replace(listing, splits=splits)
