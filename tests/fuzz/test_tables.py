"""Tables of images with anything in them: a listing, or an error of the user's, and never another exception."""

from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from mdr_tune.data.own.table import list_table
from tests.fuzz.attempts import check_each, some_seeds
from tests.fuzz.mutate import mutated_characters

HEADER = ["path", "label", "split", "role"]
ROWS = [
    [f"class_{c}/{i}.png", f"class_{c}", split, role]
    for c, (split, role) in enumerate(
        [("train", ""), ("val", ""), ("test", "both"), ("query", ""), ("gallery", "gallery")]
    )
    for i in range(3)
]
CSV = "\n".join(",".join(row) for row in [HEADER, *ROWS]) + "\n"
CELLS = (
    *(
        "",
        " ",
        "nan",
        "NA",
        "null",
        "0",
        "-1",
        "1e3",
        "007",
        "é",
        "e\u0301",
        "\u200b",
        "..",
        "../../x",
        "/abs/x.png",
        "//x",
        ".",
    ),
    *(
        "a//b",
        "C:\\x\\y.png",
        "s3://bucket/x.png",
        "~/x.png",
        "x" * 5000,
        '"',
        '""',
        "a,b",
        "a\nb",
        "\r",
        "\t",
        "\ufeff",
        "train",
    ),
    *("TEST ", "query", "both", "\U0001f600", "\0", "=1+1", "'x'", ";", "\x1b[31m"),
)
COLUMNS: tuple[Any, ...] = (
    *(
        [1, 2, None],
        [1.5, None, float("nan")],
        [True, False, None],
        [b"a", b"\xff", None],
        [[1], None, []],
        [{"a": 1}, None, {}],
    ),
    *(
        [Decimal("1.5"), None, Decimal("2")],
        [None, None, None],
        ["a", "b", "a"],
        ["", None, " "],
        ["2024-06-01", "x", None],
    ),
    *(
        pa.array([1, 2, 3], pa.timestamp("us")),
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array([1, 2, 3], pa.uint64()),
    ),
    *(
        pa.array(["a", None, "b"], pa.large_string()),
        pa.array(["a", "b", None], pa.string_view()),
        pa.array([1, 2, 3], pa.int8()),
    ),
)
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1", "utf-7")


def list_some(file: Path, random: Random) -> None:
    """List a table by columns that it may have, or not."""
    named = [random.choice((*HEADER, "", "x", "\n")) if random.random() < 0.1 else name for name in HEADER]
    split, role = (name if random.random() < 0.7 else None for name in named[2:])
    listing = list_table(
        file, file.parent, path_column=named[0], label_column=named[1], split_column=split, role_column=role
    )
    assert len(listing.paths) == len(listing.class_ids) > 0
    assert 0 <= listing.class_ids.min() <= listing.class_ids.max() < len(listing.class_names)


def csv_bytes(random: Random) -> bytes:
    """Return a CSV with odd cells, separators, quotes, line ends, columns, bytes."""
    rows = [list(row) for row in [HEADER, *ROWS]]
    for _ in range(random.choice((0, 1, 3))):
        rows[random.randrange(len(rows))][random.randrange(4)] = random.choice(CELLS)
    if random.random() < 0.2:
        row = random.choice(rows)
        row[:] = random.choice(([], row[:2], [*row, "x"], [row[0]] * 4))
    separator = random.choice((",", ",", ",", ";", "\t", "|"))
    text = random.choice(("\n", "\n", "\r\n", "\r")).join(separator.join(row) for row in rows)
    for _ in range(random.choice((0, 1, 2))):
        text = mutated_characters(text, random)
    if random.random() < 0.15:
        return text.encode(random.choice(ENCODINGS), "replace")
    data = text.encode("utf-8", "surrogatepass")
    at = random.randrange(len(data) + 1)
    return data if random.random() < 0.9 else data[:at] + random.choice((b"\xff", b"\0", b"")) + data[at + 1 :]


def write_parquet(file: Path, random: Random) -> None:
    """Write a Parquet file with columns of odd types, doubled and missing names, cut off or none at all."""
    columns = [[row[i] for row in ROWS[:3]] for i in range(4)]
    names = list(HEADER)
    for _ in range(random.choice((1, 1, 2))):
        columns[random.randrange(4)] = random.choice(COLUMNS)
    if random.random() < 0.2:
        names[random.randrange(4)] = random.choice((*HEADER, "", "\ufeffpath", "x"))
    arrays = [column if isinstance(column, pa.Array) else pa.array(column) for column in columns]
    table = pa.Table.from_arrays(arrays, names=names).slice(0, random.choice((3, 3, 3, 0)))
    pa.parquet.write_table(table, file)
    if random.random() < 0.2:
        data = file.read_bytes()
        cut = random.randrange(len(data) + 1)
        file.write_bytes(random.choice((data[:cut], data[cut:], data[:4] + data[-8:], b"PAR1", CSV.encode())))


@some_seeds
def test_a_table_is_listed_or_refused(tmp_path: Path, seeds: range) -> None:
    def attempt(random: Random) -> None:
        file = tmp_path / random.choice(("table.csv", "table.csv", "table.parquet", "TABLE.CSV"))
        if file.suffix == ".parquet":
            write_parquet(file, random)
        else:
            file.write_bytes(csv_bytes(random))
        list_some(file, random)

    check_each(seeds, attempt)


def test_the_table_that_is_changed_is_one(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(CSV)
    listing = list_table(tmp_path / "table.csv", tmp_path, split_column="split", role_column="role")
    assert len(listing.paths) == 15
