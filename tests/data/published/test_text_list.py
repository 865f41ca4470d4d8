from pathlib import Path

import numpy as np
import pytest

from mdr_tune.data.published.text_list import read_list
from mdr_tune.util.errors import UserError


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_columns_lines_and_preamble(tmp_path: Path) -> None:
    text = "\ufeff3\r\nname   number\r\n\r\nä_x.jpg  7\r\n  b.jpg\t-12  \r\n\r\n"
    found = read_list(write(tmp_path / "list.txt", text), ("name", "number"), header_line=2)
    assert found["name"] == ("ä_x.jpg", "b.jpg")
    assert found["number"] == ("7", "-12")
    assert found.lines == (4, 5)
    assert [line.strip() for line in found.preamble] == ["3"]
    assert len(found) == 2
    numbers = found.integers("number")
    assert numbers.dtype == np.int64
    assert numbers.tolist() == [7, -12]


def test_no_header_and_no_rows(tmp_path: Path) -> None:
    found = read_list(write(tmp_path / "list.txt", "\n\n"), ("name", "number"))
    assert (len(found), found["name"], found.integers("number").tolist()) == (0, (), [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name number\na 1\nb\n", r"list.txt, line 3: expected 2 columns \(name number\), found 'b'"),
        ("name number\na 1\n\nb 2 3\n", r"list.txt, line 4: expected 2 columns \(name number\), found 'b 2 3'"),
        ("a 1\nb 2\n", r"list.txt, line 1: expected the header 'name number', found 'a 1'"),
        ("", r"list.txt, line 1: expected the header 'name number', found ''"),
    ],
)
def test_a_malformed_line_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^data.root: .*{message}"):
        read_list(write(tmp_path / "list.txt", text), ("name", "number"), header_line=1)


@pytest.mark.parametrize("value", ["x", "1.5", "9223372036854775808"])
def test_a_number_that_is_none_is_named(value: str, tmp_path: Path) -> None:
    found = read_list(write(tmp_path / "list.txt", f"a 1\n\nb {value}\nc y\n"), ("name", "number"))
    with pytest.raises(UserError, match=f"list.txt, line 3: number must be a whole number, found '{value}'"):
        found.integers("number")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.root: there is no .*list.txt.*unpack it anew"):
        read_list(tmp_path / "list.txt", ("name",))
    with pytest.raises(UserError, match=r"data.root: cannot read .*: Is a directory"):
        read_list(tmp_path, ("name",))
    (tmp_path / "list.txt").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match=r"list.txt is no text file \(invalid start byte\)"):
        read_list(tmp_path / "list.txt", ("name",))
