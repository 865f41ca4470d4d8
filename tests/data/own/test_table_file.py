from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from mdr_tune.data.own.table_file import read_table_file
from mdr_tune.util.errors import UserError

NAMED = {"path_column": "path", "label_column": "label"}


def write_csv(folder: Path, text: str | bytes) -> Path:
    file = folder / "images.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def write_parquet(folder: Path, **columns: pa.Array) -> Path:
    file = folder / "images.parquet"
    pa.parquet.write_table(pa.table(columns), file)
    return file


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.jpg,007\nb.jpg,NA\n",
        "label,note,path\n007,,a.jpg\nNA,3,b.jpg",
        "path,label\r\na.jpg,007\r\n\r\nb.jpg,NA\r\n\r\n",
        '"path","label","caption"\n"a.jpg","007","two\nlines, ""quoted"""\n"b.jpg","NA",""\n',
        b"\xef\xbb\xbfpath,label\na.jpg,007\nb.jpg,NA\n",  # with the mark that spreadsheets put in front
    ],
)
def test_csv_columns_are_text(tmp_path: Path, text: str | bytes) -> None:
    table = read_table_file(write_csv(tmp_path, text), NAMED)
    assert len(table) == 2
    assert table.text("path_column").to_pylist() == ["a.jpg", "b.jpg"]
    assert table.text("label_column").to_pylist() == ["007", "NA"]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(["7", None, "12"]),
        pa.array(["7", None, "12"], pa.large_string()),
        pa.array(["7", None, "12"], pa.string_view()),
        pa.array(["7", None, "12"]).dictionary_encode(),
        pa.array([7, None, 12], pa.int64()),
        pa.array([7, None, 12], pa.uint8()),
        pa.array([7, None, 12], pa.int32()).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_parquet_labels_are_text_or_whole_numbers(tmp_path: Path, labels: pa.Array) -> None:
    file = write_parquet(tmp_path, other=pa.array([1.5, 2.5, 3.5]), label=labels, path=pa.array(["a", "b", "c"]))
    table = read_table_file(file, NAMED)
    assert table.text("label_column", numbers=True).to_pylist() == ["7", None, "12"]
    assert table.columns.column_names == ["path", "label"], "more was read than asked for"


def test_parquet_of_several_row_groups_and_a_column_without_values(tmp_path: Path) -> None:
    file = tmp_path / "images.PARQUET"
    pa.parquet.write_table(pa.table({"path": list("abcde"), "label": pa.nulls(5)}), file, row_group_size=2)
    table = read_table_file(file, NAMED)
    assert table.text("path_column").to_pylist() == list("abcde")
    assert table.text("label_column").to_pylist() == [None] * 5


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        (
            "label",
            pa.array([1.0, None]),
            r"data\.label_column: column 'label' .* holds double, and not text or whole numbers; likely .* with gaps, "
            "which pandas .*: drop the rows without a label, and save the column as whole numbers or text$",
        ),
        ("path", pa.array([1.0, None]), "holds double, and not text$"),
        ("label", pa.array([True, False]), "holds bool, and not text or whole numbers$"),
        ("path", pa.array([1, 2]), r"data\.path_column: column 'path' .* holds int64, and not text$"),
        ("path", pa.array([["a"], ["b"]]), "holds list<.*>, and not text$"),
    ],
)
def test_other_types_are_an_error(tmp_path: Path, key: str, values: pa.Array, message: str) -> None:
    columns = {"path": pa.array(["a", "b"]), "label": pa.array(["x", "y"]), key: values}
    table = read_table_file(write_parquet(tmp_path, **columns), NAMED)
    with pytest.raises(UserError, match=message):
        table.text(f"{key}_column", numbers=key == "label")


def test_a_missing_column_is_an_error_with_a_guess_and_those_there_are(tmp_path: Path) -> None:
    message = r"data\.label_column: .* has no column 'label'. Did you mean 'labels'\? Its columns: 'path', 'labels'\."
    with pytest.raises(UserError, match=message):
        read_table_file(write_csv(tmp_path, "path,labels\na,1\n"), NAMED)
    with pytest.raises(UserError, match=message):
        read_table_file(write_parquet(tmp_path, path=pa.array(["a"]), labels=pa.array([1])), NAMED)
    with pytest.raises(UserError, match=r"has no column 'path'\. Its columns: 'path;label'\."):
        read_table_file(write_csv(tmp_path, "path;label\na;1\n"), {"path_column": "path"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data.file: cannot read .*images.csv"),
        ("path,label\n", "data.file: .*images.csv has no rows"),
        ("path,label\na.jpg,1\nb.jpg\n", "data.file: cannot read .* Expected 2 columns, got 1: b.jpg\\)$"),
        (b"path,label\na.jpg,caf\xe9\n", r"data.file: cannot read .*\(.*\); it is not UTF-8: save it as UTF-8$"),
        (b"path,lab\xe9l\na.jpg,1\n", r"data.file: cannot read .*\(.*\); it is not UTF-8: save it as UTF-8$"),
        ("path,label,label\na.jpg,1,2\n", "data.label_column: .* has 2 columns 'label': rename"),
    ],
)
def test_a_csv_that_cannot_be_read_is_an_error(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_table_file(write_csv(tmp_path, text), NAMED)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("text", ["path,label\na.jpg,1\n", "path;label\n", "path,label\n1.jpg,\u6587\u5b57\n"])
def test_a_csv_in_utf_16_says_how_to_save_it(tmp_path: Path, encoding: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        read_table_file(write_csv(tmp_path, text.encode(encoding)), NAMED)
    assert str(caught.value) == (
        f"data.file: {tmp_path}/images.csv looks like UTF-16, and UTF-8 is read: save it as UTF-8 (in Excel, as the "
        "type 'CSV UTF-8'; in a shell, iconv -f UTF-16 -t UTF-8 images.csv > utf8.csv)"
    )


def test_a_parquet_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    file = write_parquet(tmp_path, path=pa.array(["a"] * 1000), label=pa.array(list(range(1000))))
    content = file.read_bytes()
    for damaged in (b"", b"path,label\n", content[: len(content) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"data\.file: cannot read .*images\.parquet"):
            read_table_file(file, NAMED)


@pytest.mark.parametrize("name", ["images.xlsx", "images"])
def test_other_formats_are_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"data\.file: .* is named neither \.csv nor \.parquet"):
        read_table_file(tmp_path / name, NAMED)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name in ("nowhere.csv", "folder.csv"):
        with pytest.raises(UserError, match=r"data\.file: there is no file .*\.csv"):
            read_table_file(tmp_path / name, NAMED)


def test_wrong_rows_are_numbered_as_the_reader_of_the_file_counts(tmp_path: Path) -> None:
    rows = np.array([True, False, True, False])
    table = read_table_file(write_csv(tmp_path, "path,label\na,1\nb,2\nc,3\nd,4\n"), NAMED)
    assert str(table.wrong("label_column", rows, "are odd")) == (
        f"data.label_column: in column 'label' of {tmp_path / 'images.csv'}, 2 of 4 rows are odd "
        "(rows 2, 4; the header is row 1)"
    )
    assert str(table.wrong("path_column", np.arange(4) == 3, "are odd")).endswith("(row 5; the header is row 1)")
    table = read_table_file(write_parquet(tmp_path, path=pa.array(list("abcdefgh")), label=pa.array(range(8))), NAMED)
    text = str(table.wrong("path_column", np.arange(8) != 1, "are wrong"))
    assert text.endswith("7 of 8 rows are wrong (rows 0, 2, 3, 4, 5, ...; the first is row 0)")
