import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from mdr_tune.data.listings.class_split import draw_classes
from mdr_tune.data.listings.open_listing import open_listed
from mdr_tune.data.own.table import list_table, listed_table
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import no_progress
from tests.data.listings.listings import written

Write = Callable[..., Path]


@pytest.fixture(params=["csv", "parquet"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Write columns, lists by name, as one of the formats."""

    def write_table(**columns: list[Any]) -> Path:
        file = tmp_path / f"images.{request.param}"
        writer = pa.csv.write_csv if request.param == "csv" else pa.parquet.write_table
        writer(pa.table(columns), file)
        return file

    return write_table


def test_paths_and_labels(write: Write, tmp_path: Path) -> None:
    file = write(path=["b/1.jpg", "/abs/2.jpg", "a 3.jpg", "4.jpg"], label=["dog", " cat ", "dog", "Zebra"])
    listing = list_table(file, tmp_path / "images")
    assert (listing.root, listing.paths) == (tmp_path / "images", ("b/1.jpg", "/abs/2.jpg", "a 3.jpg", "4.jpg"))
    assert listing.class_names == ("Zebra", "cat", "dog")
    assert written(listing) == ["train dog", "train cat", "train dog", "train Zebra"]
    assert (listing.class_ids.dtype, listing.splits.dtype, listing.roles.dtype) == (np.int64, np.int8, np.int8)


def test_ids_with_gaps_are_numbered_anew_and_the_same_in_both_formats(write: Write, tmp_path: Path) -> None:
    listing = list_table(write(path=list("abcde"), label=[700, -5, 10**12, 9, 700]), tmp_path)
    assert listing.class_names == ("-5", "1000000000000", "700", "9")
    assert listing.class_ids.tolist() == [2, 0, 1, 3, 2]


def test_labels_that_differ_in_zeros_are_two(write: Write, tmp_path: Path) -> None:
    assert list_table(write(path=["a", "b"], label=["007", "7"]), tmp_path).class_names == ("007", "7")


def test_columns_by_other_names(write: Write, tmp_path: Path) -> None:
    file = write(label=["x", "y"], image=["1.jpg", "2.jpg"], product=["p", "q"], part=["train", "test"])
    listing = list_table(file, tmp_path, path_column="image", label_column="product", split_column="part")
    assert listing.paths == ("1.jpg", "2.jpg")
    assert written(listing) == ["train p", "test q"]


def test_splits(write: Write, tmp_path: Path) -> None:
    splits = ["train", "validation", "val", "test", "query", "gallery", " Train", "QUERY"]
    listing = list_table(
        write(path=list("abcdefgh"), label=list("abcdefgh"), split=splits), tmp_path, split_column="split"
    )
    assert written(listing) == [
        "train a",
        "validation b",
        "validation c",
        "test d",
        "test e query",
        "test f gallery",
        "train g",
        "test h query",
    ]


def test_roles(write: Write, tmp_path: Path) -> None:
    file = write(
        path=list("abcdef"),
        label=list("abcdef"),
        split=["train", "train", "val", "val", "query", "gallery"],
        role=["", "both", "query", "Gallery", "query", ""],
    )
    listing = list_table(file, tmp_path, split_column="split", role_column="role")
    expected = ["train a", "train b", "validation c query", "validation d gallery", "test e query", "test f gallery"]
    assert written(listing) == expected


def test_parquet_may_leave_a_role_out(tmp_path: Path) -> None:
    pa.parquet.write_table(
        pa.table({"path": ["a", "b"], "label": [1, 2], "role": [None, "query"]}), tmp_path / "t.parquet"
    )
    listing = list_table(tmp_path / "t.parquet", tmp_path, role_column="role")
    assert written(listing) == ["train 1", "train 2 query"]


PATHS = [f"{number}.jpg" for number in range(6)]
LABELS = ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"label": ["a", None, "c", "", "e", " "]},
            r"data\.label_column: .* 3 of 6 rows have no label; .* \(rows {}\)",
        ),
        ({"path": ["0", "", "2", None, "4", ""]}, r"data\.path_column: .* 3 of 6 rows have no path \(rows {}\)"),
        (
            {"path": ["x.jpg", "1.jpg", "2.jpg", "x.jpg", "4.jpg", "1.jpg"]},
            r"data\.path_column: .* 4 of 6 rows share 2 paths, such as 'x\.jpg', '1\.jpg'; list each image once",
        ),
        (
            {"split": ["train", "tset", "test", "", "test", None]},
            r"data\.split_column: .* 3 of 6 rows have something else than train, training, validation, val, valid, "
            r"dev, test, testing, query, gallery, such as 'tset', '' \(rows {}\)",
        ),
        (
            {"role": ["query", "querry", "gallery", "x", "", "y"]},
            r"data\.role_column: .* 3 of 6 rows have something else than query, gallery, both, such as 'querry', 'x', "
            r"'y' \(rows",
        ),
        (
            {
                "split": ["test", "query", "train", "gallery", "test", "query"],
                "role": ["query", "gallery", "", "query", "", "gallery"],
            },
            r"data\.role_column: .* 3 of 6 rows contradict column 'split' \(rows {}\)",
        ),
    ],
)
def test_wrong_values_are_an_error(write: Write, tmp_path: Path, changes: dict[str, list[Any]], message: str) -> None:
    file = write(**{"path": PATHS, "label": LABELS, **changes})
    rows = "3, 5, 7; the header is row 1" if file.suffix == ".csv" else "1, 3, 5; the first is row 0"
    columns = {f"{name}_column": name for name in changes}
    with pytest.raises(UserError, match=message.format(rows)):
        list_table(file, tmp_path, **columns)


@pytest.mark.parametrize("root", ["images", "images/", "images/../images", "/", "."])
def test_a_file_in_several_spellings_is_listed_once(
    write: Write, tmp_path: Path, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    absolute = os.path.abspath(os.path.join(root, "d.png"))
    paths = ["a/0.png", "a/./0.png", "b//x", "c/../b/x", "./y", "y", absolute, "d.png", f"/{absolute}", "../z", "a/z"]
    file = write(path=paths, label=list("aabbccddddd"), split=["train", "test"] * 5 + ["test"])
    shared = r"9 of 11 rows share 4 paths, such as 'a/0\.png', 'b/x', 'y'; list each image once"
    with pytest.raises(UserError, match=r"data\.path_column: .*" + shared):
        list_table(file, Path(root), split_column="split")


def test_paths_are_read_as_they_are_written(write: Write, tmp_path: Path) -> None:
    paths = ["./a.png", "b//c.png", "link/../d.png", "..e.png", "f..png", ".../g.png", "..", "/outside/h.png"]
    assert list_table(write(path=paths, label=list("abcdefgh")), tmp_path).paths == tuple(paths)


def test_neither_the_order_of_the_rows_nor_the_format_has_a_say_in_the_draw(write: Write, tmp_path: Path) -> None:
    labels = [number for number in range(30) for _ in range(3)]
    order = np.random.default_rng(0).permutation(90)
    names = []
    for rows in (np.arange(90), order):
        listing = list_table(write(path=[f"{row}.jpg" for row in rows], label=[labels[row] for row in rows]), tmp_path)
        drawn = draw_classes(listing.class_ids, "validation", fraction=0.2)
        names.append([listing.class_names[index] for index in drawn])
    as_text = sorted(str(number) for number in range(30))
    assert names == [[as_text[index] for index in draw_classes(np.arange(30), "validation", fraction=0.2)]] * 2


def test_a_table_is_opened(write: Write, tmp_path: Path) -> None:
    for number in range(10):
        Image.new("RGB", (12, 9), (10 * number, 0, 0)).save(tmp_path / f"{number}.png")
    file = write(
        path=["0.png", "1.png", "2.png", "3.png", str(tmp_path / "4.png"), "5.png", "6.png", "7.png", "8.png", "9.png"],
        label=["a", "a", "b", "b", "c", "c", "t", "t", "u", "u"],
        split=["train"] * 6 + ["query", "gallery"] * 2,
    )
    searched, test = open_listed(
        listed_table(
            file=str(file),
            root=str(tmp_path),
            path_column="path",
            label_column="label",
            split_column="split",
            role_column=None,
            recall_ks=[1],
            resize=8,
            cache=True,
            corrupt="refuse",
            single_image_classes="refuse",
            validation={"folds": 3, "fold": 1, "seed": 0},
            test=None,
        ),
        tmp_path / "cache",
        no_progress,
    )
    (validation,) = draw_classes(np.arange(3), "validation", folds=3, fold=1)
    rows = {"validation": [2 * validation, 2 * validation + 1]}
    rows["train"] = [row for row in range(6) if row not in rows["validation"]]
    assert test.gallery is not None
    for split, expected in [
        (searched.split("train"), rows["train"]),
        (searched.split("validation"), rows["validation"]),
        (test, [6, 8]),
        (test.gallery, [7, 9]),
    ]:
        reds = split.images[torch.arange(len(split))][:, 0, 4, 4]
        assert (reds // 10).tolist() == expected
    assert (test.labels.tolist(), test.gallery.labels.tolist()) == ([3, 4], [3, 4])
