import pytest

from mdr_tune.data.listings.listing_checks import (
    check_disjoint,
    check_roles,
    check_splits,
    examples,
    warn_of_easy_splits,
)
from mdr_tune.util.errors import UserError
from tests.data.listings.listings import listing_of

GOOD = ("train a", "train b", "validation c", "test d")


@pytest.mark.parametrize("test_images", [["test d", "test d"], ["test d query", "test d gallery", "test e gallery"]])
def test_a_good_listing_passes(test_images: list[str]) -> None:
    listing = listing_of(*GOOD[:3], *test_images)
    check_roles(listing)
    check_disjoint(listing)
    check_splits(listing)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["train a query", "train b", "train c gallery"], "data: 2 training images marked as query or gallery"),
        (["test d query", "test d"], "the test split has 1 query image, 0 gallery images and 1 that would be both"),
        (
            ["validation d gallery", "validation d query", "validation e"],
            "the validation split has 1 query image, 1 gallery image and 1",
        ),
        (["test d query", "test e query"], "data: the test split has 2 query images, but no gallery"),
        (["validation d gallery"], "data: the validation split has a gallery of 1 image, but no queries"),
    ],
)
def test_roles_that_no_evaluation_can_use(images: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_roles(listing_of("train x", *images))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GOOD[2:], "data: no image is in the training split"),
        (GOOD[:2] + GOOD[3:], r"data: no image is in the validation split: .* drawn by data\.validation"),
        (GOOD[:3], r"data: no image is in the test split: .* data\.test, such as \{fraction: 0\.3\}"),
        (GOOD[1:], "data: one class is left to train on, and at least 2 are needed"),
    ],
)
def test_splits_that_do_not_make_sense(images: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_splits(listing_of(*images))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            (*GOOD, "test a"),
            r"data: classes in more than one split \(train, test\): 1 of 4, such as 'a'",
        ),
        (
            (*GOOD, "validation d", "validation b", "test c"),
            r"\(train, validation, test\): 3 of 4, such as 'b', 'c', 'd'",
        ),
        (("train a", "train a", "test a"), r"\(train, test\): 1 of 1, such as 'a'"),  # before others are drawn
    ],
)
def test_classes_in_several_splits(images: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_disjoint(listing_of(*images))


def test_a_few_examples_are_enough() -> None:
    assert examples("abcdef") == "'a', 'b', 'c'"
    assert examples(["it's"]) == '"it\'s"'


def test_a_split_of_one_class_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_easy_splits(listing_of(*GOOD, "test e", "validation c"))
    assert [record.getMessage()[:36] for record in caplog.records] == ["the validation split has one class: "]
    caplog.clear()
    warn_of_easy_splits(listing_of(*GOOD[:2], "validation c", "validation d", "test e query", "test e gallery"))
    assert caplog.records == []
