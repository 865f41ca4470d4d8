import itertools
from typing import Any

import numpy as np
import pytest

from mdr_tune.data import derive_seed
from mdr_tune.data.listings.class_split import draw_classes, with_test, with_validation
from mdr_tune.util.errors import UserError
from tests.data.listings.listings import listing_of, written

CLASSES = np.array([3, 4, 7, 10, 11, 12, 20, 21, 22, 30, 31])
LISTING = listing_of(*[f"train {name}" for name in "abcdefghij" for _ in range(3)])


def expected_order(purpose: str, seed: int) -> list[int]:
    positions = np.random.default_rng(derive_seed(f"{purpose} classes", seed)).permutation(len(CLASSES))
    return [CLASSES.tolist()[position] for position in positions]


@pytest.mark.parametrize(("fraction", "drawn"), [(0.2, 2), (0.25, 3), (0.5, 6), (0.01, 1), (0.8, 9)])
def test_a_fraction_is_the_front_of_a_seeded_order(fraction: float, drawn: int) -> None:
    for purpose, seed in [("validation", 0), ("validation", 1), ("test", 0)]:
        chosen = draw_classes(CLASSES, purpose, fraction=fraction, seed=seed)
        assert chosen.tolist() == sorted(expected_order(purpose, seed)[:drawn])


@pytest.mark.parametrize("folds", [2, 3, 4, 11])
def test_every_class_is_in_exactly_one_fold(folds: int) -> None:
    parts = [draw_classes(CLASSES, "validation", folds=folds, fold=fold, seed=5).tolist() for fold in range(folds)]
    assert sorted(itertools.chain(*parts)) == CLASSES.tolist()
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    order = expected_order("validation", 5)
    for part, size in zip(parts, sizes, strict=True):
        assert part == sorted(order[:size])
        order = order[size:]


@pytest.mark.parametrize("share", [{"fraction": 0.4}, {"folds": 3, "fold": 1}])
def test_images_and_their_order_have_no_say(share: dict[str, Any]) -> None:
    images = np.random.default_rng(0).permutation(np.repeat(CLASSES, np.arange(1, 12)))
    assert np.array_equal(
        draw_classes(images, "test", seed=2, **share),
        draw_classes(CLASSES[::-1], "test", seed=2, **share),
    )


def test_a_larger_fraction_holds_the_smaller_one() -> None:
    small, large = (set(draw_classes(CLASSES, "test", fraction=part).tolist()) for part in (0.2, 0.6))
    assert small < large


def test_seed_and_purpose_change_the_draw() -> None:
    classes = np.arange(100)
    draws = [
        draw_classes(classes, purpose, fraction=0.3, seed=seed).tolist()
        for purpose, seed in [("validation", 0), ("validation", 1), ("test", 0)]
    ]
    assert draws[0] != draws[1]
    assert draws[0] != draws[2]


def test_the_draw_never_changes() -> None:
    # Other classes here would make results of this version incomparable with those before.
    assert draw_classes(np.arange(100), "validation", fraction=0.05).tolist() == [21, 23, 36, 72, 93]
    assert draw_classes(np.arange(100), "test", folds=20, fold=3, seed=1).tolist() == [4, 16, 36, 56, 96]


@pytest.mark.parametrize(
    ("num_classes", "share", "message"),
    [
        (10, {"fraction": 0.9}, r"data\.test\.fraction: of 10 training classes, 9 would be drawn and 1 left"),
        (2, {"fraction": 0.1}, r"data\.test\.fraction: of 2 training classes, 1 would be drawn and 1 left"),
        (3, {"folds": 2, "fold": 0}, r"data\.test\.folds: of 3 training classes, 2 would be drawn and 1 left"),
        (10, {"fraction": 1.0}, r"data\.test\.fraction: 1\.0 is not between 0 and 1"),
        (10, {"fraction": 0.0}, r"data\.test\.fraction: 0\.0 is not"),
        (10, {"folds": 11}, r"data\.test\.folds: 11 folds are more than the classes, of which there are 10"),
        (10, {"folds": 1}, r"data\.test\.folds: 1 is not enough"),
        (10, {"folds": 3, "fold": 3}, r"data\.test\.fold: 3 is none of 0 \.\. 2"),
        (10, {"folds": 3, "fold": -1}, r"data\.test\.fold: -1 is none"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(num_classes: int, share: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw_classes(np.arange(num_classes), "test", **share)


@pytest.mark.parametrize("share", [{}, {"fraction": 0.2, "folds": 5}])
def test_fraction_or_folds(share: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one of them"):
        draw_classes(CLASSES, "validation", **share)


def test_drawn_classes_move_with_all_their_images() -> None:
    share = {"fraction": 0.3, "seed": 4}
    names = {"abcdefghij"[index] for index in draw_classes(np.arange(10), "validation", **share)}
    assert len(names) == 3
    expected = [f"{'validation' if name in names else 'train'} {name}" for name in "abcdefghij" for _ in range(3)]
    assert written(with_validation(LISTING, share)) == expected
    assert written(LISTING) == [f"train {name}" for name in "abcdefghij" for _ in range(3)], "the argument was changed"


def test_test_and_validation_share_no_class_and_the_test_classes_are_those_of_all_folds() -> None:
    tested = with_test(LISTING, {"fraction": 0.3, "seed": 0})
    validated: list[int] = []
    for fold in range(3):
        listing = with_validation(tested, {"folds": 3, "fold": fold, "seed": 0})
        assert np.array_equal(listing.rows("test"), tested.rows("test"))
        parts = [set(listing.classes(split).tolist()) for split in ("train", "validation", "test")]
        assert len(set.union(*parts)) == sum(map(len, parts)) == 10
        validated += sorted(parts[1])
    assert sorted(validated) == sorted(tested.classes("train").tolist())


def test_splits_of_its_own_are_left_alone() -> None:
    listing = listing_of("train a", "train b", "validation c", "test d")
    assert with_validation(listing, {"fraction": 0.5}) is listing
    assert with_test(listing, {"fraction": 0.5}) is listing
    # Those of the other split are none to draw from.
    listing = listing_of("train a", "train b", "train c", "test d", "test e")
    assert written(with_validation(listing, {"fraction": 0.01}))[3:] == ["test d", "test e"]


def test_folds_of_classes_that_are_given_are_refused() -> None:
    given = with_validation(LISTING, {"fraction": 0.3})
    with pytest.raises(UserError, match=r"data\.validation\.folds: the data set says itself which classes"):
        with_validation(given, {"folds": 3, "fold": 1, "seed": 0})
