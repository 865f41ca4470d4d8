import re

import numpy as np
import pytest

from mdr_tune.data.listings.duplicates import check_duplicates
from mdr_tune.errors import UserError
from tests.data.listings.listings import listing_of

IMAGES = ["train a", "train a", "train b", "validation c", "validation c", "test d", "test e", "test e"]


def told(caplog: pytest.LogCaptureFixture, first_copies: list[int], duplicates: str = "refuse") -> str:
    """Return what is logged, without the folder."""
    caplog.clear()
    check_duplicates(listing_of(*IMAGES), np.array(first_copies), duplicates)  # type: ignore[arg-type]
    return "".join(caplog.messages).removeprefix("pictures: ")


def test_images_of_their_own_are_no_matter(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, list(range(8))) == ""


def test_copies_within_a_split_are_told(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, [0, 0, 2, 3, 4, 5, 6, 6]) == (
        "4 of 8 images (2 classes) have the same pixels as another one: '0.png' (train, a) = '1.png' (train, a); "
        "'6.png' (test, e) = '7.png' (test, e)"
    )


def test_copies_in_two_classes_of_a_split_are_told_as_such(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, [0, 0, 2, 3, 4, 5, 5, 7]) == (
        "4 of 8 images (3 classes) have the same pixels as another one: 2 as one in another class of its split: "
        "'5.png' (test, d) = '6.png' (test, e)"
    )


@pytest.mark.parametrize(
    ("first_copies", "pair"),
    [
        ([0, 1, 2, 0, 4, 5, 6, 7], "'0.png' (train, a) = '3.png' (validation, c)"),
        ([0, 1, 2, 3, 4, 4, 6, 7], "'4.png' (validation, c) = '5.png' (test, d)"),
        ([0, 1, 2, 3, 4, 5, 2, 7], "'2.png' (train, b) = '6.png' (test, e)"),
    ],
)
def test_copies_in_two_splits_are_refused(caplog: pytest.LogCaptureFixture, first_copies: list[int], pair: str) -> None:
    what = "2 of 8 images (2 classes) have the same pixels as another one"
    with pytest.raises(
        UserError, match=re.escape(f"data.duplicates: {what}, 2 of them (2 classes) as one in another split: {pair}. ")
    ):
        told(caplog, first_copies)
    assert told(caplog, first_copies, "keep") == f"{what}: 2 of them (2 classes) as one in another split: {pair}"


def test_one_image_in_many_places_shows_where_it_differs(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError) as caught:
        told(caplog, [0, 0, 0, 0, 0, 0, 0, 0])
    assert "8 of 8 images (5 classes) have" in str(caught.value)
    assert "'0.png' (train, a) = '2.png' (train, b) = '3.png' (validation, c) = ..." in str(caught.value)
