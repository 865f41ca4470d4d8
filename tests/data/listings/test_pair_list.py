"""Lists of pairs for verification: which images they mean in each split, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from mdr_tune.data.dataset import ImageSplit
from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY, Listing, assemble
from mdr_tune.data.listings.pair_list import read_pairs
from mdr_tune.util.errors import UserError

SPLITS = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
"""Of images 0 to 11: training, validation and test, each of two classes of two images."""


def listing(paths: list[str] | None = None, roles: list[int] | None = None) -> Listing:
    return Listing(
        Path("/data"),
        tuple(paths or [f"a/{i}.jpg" for i in range(12)]),
        np.repeat(np.arange(6), 2),
        tuple("abcdef"),
        np.array(SPLITS, np.int8),
        np.array(roles or [BOTH] * 12, np.int8),
    )


def write(folder: Path, first: list[Any], second: list[Any], same: list[Any], suffix: str = "csv") -> Path:
    file = folder / f"pairs.{suffix}"
    writer = pa.csv.write_csv if suffix == "csv" else pa.parquet.write_table
    writer(pa.table({"first": first, "second": second, "same": same}), file)
    return file


def images(*numbers: int) -> list[str]:
    return [f"a/{number}.jpg" for number in numbers]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("same", [[1, 0, 0, 1], [True, False, False, True], ["Same", "different", "0", "1"]])
def test_pairs_are_found_in_both_formats_and_however_they_are_spelled(
    tmp_path: Path, suffix: str, same: list[Any]
) -> None:
    first, second = ["a/4.jpg", "./a/5.jpg", "/data/a/8.jpg", "a//9.jpg"], images(5, 6, 11, 8)
    pairs = read_pairs(write(tmp_path, first, second, same, suffix), listing())
    assert pairs.indices.tolist() == [[4, 5], [5, 6], [8, 11], [9, 8]]
    assert pairs.is_same.tolist() == [True, False, False, True]


def test_rows_of_vectors_are_named_by_their_numbers(tmp_path: Path) -> None:
    rows = listing([f"row {i}" for i in range(12)])
    pairs = read_pairs(write(tmp_path, [8, 9], [9, 10], [1, 0], "parquet"), rows)
    assert pairs.indices.tolist() == [[8, 9], [9, 10]]


def labels_of(split: ImageSplit) -> list[tuple[int, int, bool]]:
    assert split.pairs is not None
    indices, is_same = split.pairs
    labels = split.labels.tolist() + ([] if split.gallery is None else split.gallery.labels.tolist())
    return [(labels[i], labels[j], same) for (i, j), same in zip(indices.tolist(), is_same.tolist(), strict=True)]


@pytest.mark.parametrize("roles", [None, [BOTH] * 8 + [GALLERY, QUERY, GALLERY, QUERY]])
def test_each_split_has_its_pairs_and_the_gallery_follows_the_queries(tmp_path: Path, roles: list[int] | None) -> None:
    listed = listing(roles=roles)
    pairs = read_pairs(write(tmp_path, images(8, 9, 10), images(9, 10, 11), [1, 0, 1]), listed)
    searched, test = assemble("x", listed, np.zeros((12, 1, 2, 2)), (1,), pairs=pairs)  # type: ignore[arg-type]
    assert searched.split("validation").pairs is None
    assert labels_of(test) == [(4, 4, True), (4, 5, False), (5, 5, True)]
    assert [pairs.of_split(listed, split) for split in ("train", "validation", "test")] == [0, 0, 3]


def test_pairs_of_images_that_are_left_out_go_with_them(tmp_path: Path) -> None:
    pairs = read_pairs(write(tmp_path, images(8, 9, 10), images(9, 10, 11), [1, 0, 1]), listing())
    left = pairs.select(np.array([0, 1, 9, 10, 11]), 12)
    assert (left.indices.tolist(), left.is_same.tolist()) == ([[2, 3], [3, 4]], [False, True])


@pytest.mark.parametrize(
    ("first", "second", "same", "message"),
    [
        (images(8, 99), images(9, 8), [1, 0], r"in column 'first' of .*, 1 of 2 rows name images that are not in the"),
        (["a/8.jpg", ""], images(9, 8), [1, 0], r"in column 'first' of .*, 1 of 2 rows name no image \(row 3; "),
        (images(8, 9), images(9, 8), [1, 0], r"2 of 2 rows have another answer for the same two images"),
        (images(8, 9), images(8, 10), [1, 0], r"in column 'second' of .* name the first image again"),
        (images(8, 0), images(9, 1), [1, 0], r"1 of 2 rows have an image of the training classes"),
        (images(8, 4), images(9, 9), [1, 0], r"1 of 2 rows have a validation image and a test image"),
        (images(8, 9), images(9, 10), [1, "maybe"], r"in column 'same' of .* such as 'maybe' \(row 3;"),
        (images(8, 10), images(9, 11), [1, 1], "has no pair of test images of different classes"),
        (images(8, 4, 4), images(10, 5, 6), [0, 1, 0], "has no pair of test images of one class"),
    ],
)
def test_wrong_pairs_are_refused(
    tmp_path: Path, first: list[str], second: list[str], same: list[Any], message: str
) -> None:
    with pytest.raises(UserError, match=rf"^data\.pairs: .*{message}"):
        read_pairs(write(tmp_path, first, second, [str(answer) for answer in same]), listing())


def test_a_file_that_is_not_there_or_lacks_a_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.pairs: there is no file"):
        read_pairs(tmp_path / "none.csv", listing())
    (tmp_path / "other.csv").write_text("first,second\na,b\n")
    with pytest.raises(UserError, match=r"^data\.pairs: .* has no column 'same'"):
        read_pairs(tmp_path / "other.csv", listing())
