import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from mdr_tune.data.listings import duplicates
from mdr_tune.data.listings.duplicates import check_copied_files, check_duplicates
from mdr_tune.data.listings.listing import Listing
from mdr_tune.util.errors import UserError
from tests.data.listings.listings import listing_of

IMAGES = ["train a", "train a", "train b", "validation c", "validation c", "test d", "test e", "test e"]


def told(caplog: pytest.LogCaptureFixture, first_copies: list[int], wanted: str = "refuse") -> str:
    """Return what is logged, without the folder."""
    caplog.clear()
    check_duplicates(listing_of(*IMAGES), np.array(first_copies), wanted)  # type: ignore[arg-type]
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


BLOCK = bytes(range(256)) * 64


@pytest.fixture
def files(tmp_path: Path) -> Listing:
    """Files of one size, whose first, middle or last bytes alone differ, and two of other sizes."""
    listing = dataclasses.replace(listing_of(*IMAGES), root=tmp_path)
    ends = [b"0" + BLOCK, BLOCK + b"1", BLOCK[:8192] + b"2" + BLOCK[8192:], BLOCK + b"3", BLOCK[:-1], BLOCK[:-1] + b"5"]
    for path, content in zip(listing.paths, [*ends, b"6", b"6"], strict=True):
        (tmp_path / path).write_bytes(content)
    return listing


def copied(listing: Listing) -> str:
    with pytest.raises(UserError) as caught:
        check_copied_files(listing)
    return str(caught.value)


def test_files_of_their_own_and_copies_in_a_split_are_no_matter(files: Listing) -> None:
    check_copied_files(files)
    for row in (6, 7):  # an empty file is no image
        (files.root / files.paths[row]).write_bytes(b"")
    (files.root / files.paths[0]).write_bytes(b"")
    check_copied_files(files)


@pytest.mark.parametrize("content", [BLOCK + b"1", b"1", b"0" + BLOCK])
def test_copies_of_a_file_in_another_split_are_refused(files: Listing, content: bytes) -> None:
    for row in (0, 1, 5):
        (files.root / files.paths[row]).write_bytes(content)
    assert copied(files) == (
        "data.duplicates: 3 of 8 images (2 classes) are copies of a file in another split: '0.png' (train, a) = "
        "'5.png' (test, d) = '1.png' (train, a). Nothing may be both trained on and tested: delete the copies (in a "
        "table, their rows), or set data.duplicates: keep"
    )


def test_no_more_is_read_of_files_than_tells_them_apart(files: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int | None, list[str]]] = []
    hashes = duplicates.file_hashes

    def counting(root: Path, paths: list[str], num_bytes: int | None) -> object:
        read.append((num_bytes, list(paths)))
        return hashes(root, paths, num_bytes)

    monkeypatch.setattr(duplicates, "file_hashes", counting)
    check_copied_files(files)
    of_one_size = ["0.png", "1.png", "2.png", "3.png"]
    assert read == [(4096, of_one_size), (None, ["1.png", "3.png"])]  # of these the middle is equal
