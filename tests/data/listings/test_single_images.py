import logging
from collections import Counter

import numpy as np
import pytest

from mdr_tune.data.listings.listing import Listing
from mdr_tune.data.listings.single_images import rows_with_something_to_retrieve
from mdr_tune.util.errors import UserError
from tests.data.listings.listings import listing_of, written

MIXED = listing_of("train a", "train b", "train b", "test c", "test d", "test d", "test d", "validation e", "train f")
GALLERY = listing_of(
    "train a",
    "train a",
    "test c query",
    "test c gallery",
    "test d query",
    "test d query",
    "test e gallery",
    "test f query",
)


def naive_rows(listing: Listing) -> list[int]:
    """Look at each image's others, one by one."""
    texts = [text.split() for text in written(listing)]
    kept = []
    for row, (split, name, *role) in enumerate(texts):
        others = [other for index, other in enumerate(texts) if index != row and other[:2] == [split, name]]
        if role == ["gallery"] or any(other[2:] != ["query"] for other in others):
            kept.append(row)
    return kept


@pytest.mark.parametrize(("listing", "left_out"), [(MIXED, [0, 3, 7, 8]), (GALLERY, [4, 5, 7])])
def test_images_with_nothing_to_retrieve_are_dropped_with_a_warning(
    listing: Listing, left_out: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        rows = rows_with_something_to_retrieve(listing, "drop")
    assert rows.tolist() == naive_rows(listing) == [row for row in range(len(listing)) if row not in left_out]
    assert f"Left out: {len(left_out)} of {len(listing)} images" in caplog.text


def test_equal_to_a_naive_loop_on_random_listings() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        kinds = ["train", "validation", "test"], [f"c{index}" for index in range(6)], ["both", "query", "gallery"]
        listing = listing_of(*(" ".join(str(generator.choice(kind)) for kind in kinds) for _ in range(25)))
        assert Counter(rows_with_something_to_retrieve(listing, "drop").tolist()) == Counter(naive_rows(listing))


def test_refused_with_the_number_the_names_and_the_way_out() -> None:
    with pytest.raises(
        UserError,
        match=r"^data\.single_image_classes: nothing to retrieve in 4 of 6 classes, .*: 'a', 'c', 'e'. .*: drop",
    ):
        rows_with_something_to_retrieve(MIXED, "refuse")


def test_kept_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    assert rows_with_something_to_retrieve(MIXED, "keep").tolist() == list(range(9))
    assert not caplog.records


@pytest.mark.parametrize("what", ["refuse", "drop"])
def test_nothing_to_complain_about(what: str, caplog: pytest.LogCaptureFixture) -> None:
    listing = listing_of("train a", "train a", "test b query", "test b gallery", "test c gallery")
    assert rows_with_something_to_retrieve(listing, what).tolist() == [0, 1, 2, 3, 4]
    assert not caplog.records
