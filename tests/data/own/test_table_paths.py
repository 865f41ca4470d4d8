"""Paths and labels as tables in the wild have them."""

import os
import re
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from mdr_tune.data.listings.listing import Listing
from mdr_tune.data.listings.listing_checks import check_disjoint
from mdr_tune.data.own.table import list_table
from mdr_tune.util.errors import UserError
from tests.data.listings.listings import written

COMPOSED = "café"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def listing_of(root: Path, path: list[Any], label: list[Any] | None = None, **columns: list[Any]) -> Listing:
    """List a table with these columns."""
    table = {"path": path, "label": label or [f"c{number}" for number in range(len(path))], **columns}
    pa.parquet.write_table(pa.table(table), root / "t.parquet")
    return list_table(root / "t.parquet", root, **{f"{name}_column": name for name in columns})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a\\1.png", r"are written with backslashes, as on Windows, such as 'a\\\\1\.png': write slashes"),
        ("C:\\a\\1.png", r"begin with a drive, as on Windows"),
        (
            "https://shop.example/a/1.png",
            r"have an address instead of a path, such as 'https://shop\.example/a/1\.png'",
        ),
        ("s3://bucket/1.png", "have an address instead of a path"),
        ("~/a/1.png", r"begin with ~, .*: write it out, such as /"),
        ("$HOME/a/1.png", "begin with a variable"),
        ("a/1.png ", r"begin or end with a blank, such as 'a/1\.png ': remove it"),
        ("\u00a0a/1.png", r"begin or end with a blank, such as '\\xa0a/1\.png'"),
        ("a/1.png\r", "begin or end with a blank"),
        ("\ufeffa/1.png", r"have characters that are not seen, such as '\\ufeffa/1\.png': remove them"),
        ("a/\u200b1.png", "have characters that are not seen"),
    ],
)
def test_what_is_no_path_is_refused_with_a_remedy(tmp_path: Path, path: str, message: str) -> None:
    touch(tmp_path, "a/1.png", "a/2.png")
    with pytest.raises(
        UserError, match=rf"data\.path_column: .* 1 of 3 rows {message}.* \(row 1; the first is row 0\)"
    ):
        listing_of(tmp_path, ["a/1.png", path, "a/2.png"])


def test_a_file_may_be_named_so(tmp_path: Path) -> None:
    paths = ["a\\1.png", "~/1.png", " 1.png", "$A/1.png", "1.png\u200b"]
    touch(tmp_path, *paths)
    assert listing_of(tmp_path, paths).paths == tuple(paths)


@pytest.mark.parametrize(("listed", "on_disk"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_paths_in_another_unicode_form_find_their_files(tmp_path: Path, listed: str, on_disk: str) -> None:
    touch(tmp_path, f"{on_disk}/{on_disk}.png", f"{on_disk}/2.png", "a/1.png")
    paths = [f"{listed}/{listed}.png", f"./{listed}/2.png", f"{tmp_path}/{listed}/{listed}x.png", "a/1.png", "no/é.png"]
    touch(tmp_path, f"{on_disk}/{on_disk}x.png")
    found = listing_of(tmp_path, paths).paths
    expected = [f"{on_disk}/{on_disk}.png", f"./{on_disk}/2.png", f"{tmp_path}/{on_disk}/{on_disk}x.png"]
    assert [os.path.normpath(path) for path in found[:3]] == [os.path.normpath(path) for path in expected]
    assert found[3:] == ("a/1.png", "no/é.png")


def test_two_spellings_of_one_file_share_a_path(tmp_path: Path) -> None:
    touch(tmp_path, f"{COMPOSED}.png")
    with pytest.raises(UserError, match=r"2 of 2 rows share 1 path, such as 'café\.png'"):
        listing_of(tmp_path, [f"{COMPOSED}.png", f"{DECOMPOSED}.png"])


def test_rows_of_what_systems_keep_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [
        "a/1.png",
        "a/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg",
        "b/2.png",
        "b/@eaDir/2.png/x.jpg",
        ".Trash-1000/a/1.png",
    ]
    listing = listing_of(tmp_path, paths, ["a", "a", "b", "b", "a"])
    assert (listing.paths, written(listing)) == (("a/1.png", "b/2.png"), ["train a", "train b"])
    assert caplog.messages == [
        f"{tmp_path / 't.parquet'}: left out what systems keep beside images, by name: @eaDir 2, .Trash-1000 1"
    ]


def test_where_the_root_lies_is_no_matter(tmp_path: Path) -> None:
    root = tmp_path / "#recycle" / "a"
    root.mkdir(parents=True)
    assert listing_of(root, ["1.png", f"{root}/2.png"]).paths == ("1.png", f"{root}/2.png")


@pytest.mark.parametrize("other", [DECOMPOSED, "café\u200b", "ca\u00adfé", "\ufeffcafé", "café\u00a0", "café\u200d"])
def test_labels_that_look_the_same_are_one_class(tmp_path: Path, caplog: pytest.LogCaptureFixture, other: str) -> None:
    listing = listing_of(tmp_path, ["1", "2", "3"], [COMPOSED, "bar", other], split=["train", "train", "test"])
    assert written(listing) == ["train café", "train bar", "test café"]
    if other.strip() != COMPOSED:
        assert f"{tmp_path / 't.parquet'}: names that look the same but have different characters" in caplog.text
    with pytest.raises(UserError, match=r"classes in more than one split \(train, test\): 1 of 2, such as 'café'"):
        check_disjoint(listing)


def test_words_for_splits_and_roles_may_have_characters_that_are_not_seen(tmp_path: Path) -> None:
    splits, roles = ["Train\u200b", "\ufefftraining", "valid\u00a0", "testing"], ["", "\u200bboth", "", "quer\u00ady"]
    listing = listing_of(tmp_path, list("1234"), list("abcd"), split=splits, role=roles)
    assert written(listing) == ["train a", "train b", "validation c", "test d query"]


def test_a_label_that_is_not_seen_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.label_column: .* 2 of 3 rows have no label; .* \(rows 1, 2;"):
        listing_of(tmp_path, ["1", "2", "3"], ["a", "\u200b", "\u00a0\ufeff"])


def test_a_table_that_is_not_separated_by_commas_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path;label\n1.png;a\n")
    with pytest.raises(
        UserError, match=r"has no column 'path'\. Its columns: 'path;label'\. They are separated by ';': save the file"
    ):
        list_table(tmp_path / "t.csv", tmp_path)


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "null", " nan ", "<NA>", "\\N", "(null)", "#N/A", "n/a"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_words_for_missing_values_are_no_labels(tmp_path: Path, word: str, suffix: str) -> None:
    table = pa.table({"path": ["1", "2", "3"], "label": ["a", word, "NA"]})
    file = tmp_path / f"t.{suffix}"
    (pa.csv.write_csv if suffix == "csv" else pa.parquet.write_table)(table, file)
    row = 3 if suffix == "csv" else 1
    said = re.escape(repr(word.strip()))
    what = rf"1 of 3 rows have no label \(such as {said}, as programs write a missing value\); .* \(row {row};"
    with pytest.raises(UserError, match=rf"data\.label_column: .*{what}"):
        list_table(file, tmp_path)


@pytest.mark.parametrize("label", ["NA", "NONE", "nil", "none", "n.a.", "-", "?", "unknown"])
def test_a_label_that_may_stand_for_none_is_a_class_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, label: str
) -> None:
    assert listing_of(tmp_path, ["1", "2"], ["nanny", label]).class_names == tuple(sorted(["nanny", label]))
    (message,) = caplog.messages
    assert f"has the label '{label}', which is a class like any other; if it stands for no label" in message


def test_a_column_is_found_in_whichever_unicode_form_its_name_is(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"path": ["1"], "e\u0301tiquette": ["a"]}), tmp_path / "t.parquet")
    assert list_table(tmp_path / "t.parquet", tmp_path, label_column="\u00e9tiquette").class_names == ("a",)


def test_a_folder_of_parquet_files_is_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "products.parquet"
    (folder / "_temporary").mkdir(parents=True)
    for number, (paths, labels) in enumerate([(["b", "a"], ["007", "x"]), (["c"], ["7"])]):
        pa.parquet.write_table(pa.table({"path": paths, "label": labels}), folder / f"part-{1 - number}.parquet")
    (folder / "_SUCCESS").touch()
    (folder / "_temporary" / "x.parquet").touch()
    listing = list_table(folder, tmp_path)
    assert (listing.paths, written(listing)) == (("c", "b", "a"), ["train 7", "train 007", "train x"])
    with pytest.raises(UserError, match=r"data\.path_column: .*products\.parquet has no column 'image'"):
        list_table(folder, tmp_path, path_column="image")


def test_folders_named_by_a_column_are_that_column(tmp_path: Path) -> None:
    folder = tmp_path / "products"
    for label, split, path in [("007", "train", "a"), ("7", "train", "b"), ("a%20b", "test", "c")]:
        part = folder / f"label={label}" / f"split={split}"
        part.mkdir(parents=True)
        pa.parquet.write_table(pa.table({"path": [path]}), part / "part-0.parquet")
    listing = list_table(folder, tmp_path, split_column="split")
    assert dict(zip(listing.paths, written(listing), strict=True)) == {
        "a": "train 007",
        "b": "train 7",
        "c": "test a b",
    }


def test_a_folder_without_parquet_files_is_none(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").mkdir()
    with pytest.raises(UserError, match=r"data\.file: there is no file .*t\.parquet: it is a folder, without Parquet"):
        list_table(tmp_path / "t.parquet", tmp_path)


def test_the_files_of_a_folder_agree_on_types(tmp_path: Path) -> None:
    tables = [
        {"path": ["a"], "label": [7], "role": pa.array([None], pa.null())},
        {"path": ["b"], "label": [8], "role": ["query"]},
    ]
    for number, table in enumerate(tables):
        pa.parquet.write_table(pa.table(table), tmp_path / f"{number}.parquet")
    assert written(list_table(tmp_path, tmp_path, role_column="role")) == ["train 7", "train 8 query"]
    pa.parquet.write_table(pa.table({"path": ["b"], "label": ["007"]}), tmp_path / "1.parquet")
    with pytest.raises(UserError, match=r"data\.file: cannot read .*label has incompatible types: int64 vs string"):
        list_table(tmp_path, tmp_path)
