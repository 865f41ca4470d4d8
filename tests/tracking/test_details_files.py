"""The Parquet files of an evaluation, against what was written into them."""

import dataclasses
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mdr_tune.records.query_details import ShownImage, ShownQuery, TestDetails
from mdr_tune.tracking.query_scores import CENTRES, GALLERY, QUERIES, read_details, write_details
from tests.tracking.told import plain

GREY = np.arange(20, dtype=np.uint8).reshape(1, 4, 5)
COLOURED = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
DETAILS = TestDetails(
    labels=np.array([4, 4, 9]),
    first_hit=np.array([1, 3, 0]),
    average_precision=np.array([1.0, 1 / 3, np.nan]),
    r_precision=np.array([1.0, 0.0, np.nan]),
    centre_labels=np.array([4, 9]),
    centres=np.array([[0.1, -2.0, 3.0], [1e-30, 5.0, 6.0]], dtype=np.float32),
    shown=[
        ShownQuery("best", 0, 1.0, ShownImage(4, GREY), [ShownImage(4, GREY + 1), ShownImage(9, GREY + 2)]),
        ShownQuery("worst", 1, 1 / 3, ShownImage(4, COLOURED), [ShownImage(9, COLOURED + 1)]),
        ShownQuery("worst", 0, 1.0, ShownImage(4, GREY), []),
    ],
)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    further = {"map_at_10": np.array([0.25, np.nan, 1.0]), "mrr": np.array([0.5, 0.0, 1.0])}
    for details in (DETAILS, replace(DETAILS, further=further)):
        write_details(details, tmp_path)
        assert plain(read_details(tmp_path)) == plain(details)


def test_nothing_shown_and_no_class(tmp_path: Path) -> None:
    none = np.zeros(0, dtype=np.int64)
    empty = TestDetails(none, none, np.zeros(0), np.zeros(0), none, np.zeros((0, 7), dtype=np.float32))
    write_details(empty, tmp_path)
    assert plain(read_details(tmp_path)) == plain(empty)


def test_other_tools_read_the_files(tmp_path: Path) -> None:
    write_details(DETAILS, tmp_path)
    queries, centres, gallery = (pq.read_table(tmp_path / name).to_pylist() for name in (QUERIES, CENTRES, GALLERY))
    assert queries[1] == {"index": 1, "label": 4, "first_hit": 3, "average_precision": 1 / 3, "r_precision": 0.0}
    assert centres[0] == {"label": 4, "centre": [pytest.approx(0.1), -2.0, 3.0]}
    places = [(row["kind"], row["query"], row["place"], row["label"]) for row in gallery]
    assert places[:4] == [("best", 0, 0, 4), ("best", 0, 1, 4), ("best", 0, 2, 9), ("worst", 1, 0, 4)]
    assert len(places) == 6
    image = Image.open(io.BytesIO(gallery[3]["png"]))
    assert (image.mode, image.size) == ("RGB", (5, 4))
    assert image.getpixel((1, 0)) == tuple(COLOURED[:, 0, 1])


@pytest.mark.parametrize("name", [QUERIES, CENTRES, GALLERY])
def test_files_that_are_damaged_or_missing(tmp_path: Path, name: str) -> None:
    write_details(dataclasses.replace(DETAILS, shown=[]), tmp_path)
    (tmp_path / name).write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"[Pp]arquet"):
        read_details(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(OSError, match=name):
        read_details(tmp_path)
