"""Read columns of a CSV file, a Parquet file or a folder of Parquet files. Errors name the rows that are wrong."""

import codecs
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet

from mdr_tune.util.errors import UserError
from mdr_tune.util.files import check_on_disk
from mdr_tune.util.nearest_name import did_you_mean
from mdr_tune.util.text_forms import INVISIBLE, one_form

_ROWS_SHOWN = 5
_CHARACTERS_AT_ONCE = 1 << 20
_BYTES_LOOKED_AT = 4096
_MISSING = (
    *("", "nan", "NaN", "NAN", "-nan", "-NaN", "-NAN", "1.#QNAN", "-1.#IND", "None", "NaT", "<NA>"),  # Python
    *("null", "Null", "NULL", "(null)", "(NULL)", "<null>", "<NULL>", "[null]", "[NULL]", "\\N"),  # databases
    *("N/A", "n/a", "N/a", "#N/A", "#n/a", "#NA", "#N/A N/A", "#NULL!", "#REF!", "#VALUE!", "#NAME?"),  # sheets
)
"""Texts that programs write where a value is missing. NA is not one of them: as a class, it may mean Namibia."""
PERHAPS_MISSING = re.compile(r"na|n\.?a\.|none|nil|undefined|missing|unknown|[-?.*#_]+", re.IGNORECASE)
"""Regular expression for texts that may stand for a missing value, but may also be the name of a class."""

# Quoted text may hold line breaks, such as captions in columns that are not used.
_CSV_PARSING = pa.csv.ParseOptions(newlines_in_values=True)


@dataclass(frozen=True)
class TableFile:
    """Columns of a table file, with n > 0 rows.

    Attributes:
        file: path of the file.
        named: names of the columns in the file. The keys are those of `data` in a sweep file, such as `path_column`.
        columns: the columns, as an Arrow table.
        first_row: number that messages give the first row: 2 in CSV, where the header is row 1, and 0 in Parquet.
    """

    file: Path
    named: Mapping[str, str]
    columns: pa.Table
    first_row: int

    def __len__(self) -> int:
        return len(self.columns)

    def text(self, key: str, numbers: bool = False) -> pa.Array:
        """Return the column of `key` (a key of `named`) as text, (n,). Missing values are null.

        Whole numbers are accepted only with `numbers`, and turned into text. A column of another type is a UserError.
        """
        column = self.columns[self.named[key]]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        kind, types = column.type, pa.types
        is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
        if not (is_text or types.is_null(kind) or (numbers and types.is_integer(kind))):
            what = f"holds {kind}, and not text{' or whole numbers' if numbers else ''}"
            if numbers and types.is_floating(kind):
                what += (
                    "; likely these are whole numbers with gaps, which pandas turns into floating point: drop the rows "
                    "without a label, and save the column as whole numbers or text"
                )
            raise UserError(f"data.{key}: column {self.named[key]!r} of {self.file} {what}")
        return pa.concat_arrays(column.cast(pa.large_string()).chunks)

    @staticmethod
    def is_missing(values: pa.Array) -> np.ndarray:
        """Return a mask, (n,) bool, of the `values`, (n,) text, that are null, empty or one of the texts `_MISSING`."""
        words = pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.fill_null(values, ""), INVISIBLE, ""))
        return np.asarray(pc.is_in(words, value_set=pa.array(_MISSING, words.type)).to_numpy(zero_copy_only=False))

    def wrong(self, key: str, rows: np.ndarray, what: str) -> UserError:
        """Return an error whose message names the wrong rows of a column.

        Args:
            key: `path_column` or another key of `named`.
            rows: (n,) bool, True for the rows that are wrong.
            what: what is wrong with the rows, in words that follow "3 of 10 rows", such as "have no path".
        """
        numbers = np.flatnonzero(rows) + self.first_row
        shown = ", ".join(str(number) for number in numbers[:_ROWS_SHOWN])
        row = "row" if len(numbers) == 1 else "rows"
        counted = "the header is row 1" if self.first_row else "the first is row 0"
        return UserError(
            f"data.{key}: in column {self.named[key]!r} of {self.file}, {len(numbers):,} of {len(self):,} rows {what} "
            f"({row} {shown}{', ...' if len(numbers) > _ROWS_SHOWN else ''}; {counted})"
        )


def read_table_file(file: Path, named: Mapping[str, str]) -> TableFile:
    """Read some columns of a CSV file with a header (`.csv`), a Parquet file (`.parquet`) or a folder of Parquet files.

    The files of a folder are read in the order of the code points of their paths. Folders in it that are named
    `column=value` add a text column of that name. Messages number rows as a user sees them: in CSV the header is row 1
    and blank lines do not count; in Parquet the first row is row 0.

    Args:
        file: file or folder to read.
        named: names of the columns to read. The keys are those of `data` in a sweep file, such as `path_column`.

    Raises:
        UserError: there is no such file, it cannot be read, it has no rows, or one of the columns is missing.
    """
    suffix = ".parquet" if os.path.isdir(file) else file.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise UserError(f"data.file: {file} is named neither .csv nor .parquet, the formats that can be read")
    if not os.path.exists(file):  # not Path.exists, which raises if a folder above must not be entered
        raise UserError(f"data.file: there is no file {file}")
    try:
        check_on_disk(file)
        columns, named = _read_csv(file, named) if suffix == ".csv" else _read_parquet(file, named)
    except OSError as error:
        raise UserError(f"data.file: cannot read {file} ({error})") from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        remedy = "; it is not UTF-8: save it as UTF-8" if suffix == ".csv" and not _is_utf8(file) else ""
        raise UserError(f"data.file: cannot read {file} ({error}){remedy}") from error
    if not len(columns):
        raise UserError(f"data.file: {file} has no rows")
    return TableFile(file, named, columns, first_row=2 if suffix == ".csv" else 0)


def _read_csv(file: Path, named: Mapping[str, str]) -> tuple[pa.Table, dict[str, str]]:
    if _looks_like_utf_16(file):
        raise UserError(
            f"data.file: {file} looks like UTF-16, and UTF-8 is read: save it as UTF-8 (in Excel, as the type "
            f"'CSV UTF-8'; in a shell, iconv -f UTF-16 -t UTF-8 {shlex.quote(file.name)} > utf8.csv)"
        )
    with pa.csv.open_csv(file, parse_options=_CSV_PARSING) as reader:
        named = _check_columns(file, named, reader.schema.names)
    wanted = list(dict.fromkeys(named.values()))
    # All as text, whatever it looks like: 007 is not a number, and NA is not a missing value.
    as_text = pa.csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pa.large_string()))
    return pa.csv.read_csv(file, parse_options=_CSV_PARSING, convert_options=as_text), named


def _looks_like_utf_16(file: Path) -> bool:
    """Return whether `file` begins like UTF-16: with its byte order mark, or with many zeros at even or odd bytes."""
    with file.open("rb") as opened:
        start = opened.read(_BYTES_LOOKED_AT)
    return start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or any(
        start[side::2].count(0) > len(start) / 4 for side in (0, 1)
    )


def _is_utf8(file: Path) -> bool:
    # Checked when a CSV cannot be read, because Arrow's error does not always mention the encoding.
    try:
        with file.open(encoding="utf-8") as text:
            while text.read(_CHARACTERS_AT_ONCE):
                pass
    except UnicodeDecodeError:
        return False
    return True


def _read_parquet(file: Path, named: Mapping[str, str]) -> tuple[pa.Table, dict[str, str]]:
    if not os.path.isdir(file):
        with pa.parquet.ParquetFile(file) as parquet:
            named = _check_columns(file, named, parquet.schema_arrow.names)
            return parquet.read(columns=list(dict.fromkeys(named.values()))), named
    parts = parquet_files(file)
    schemas = [pa.parquet.read_schema(part) for part in parts]
    folders = [name.partition("=") for part in parts for name in part.relative_to(file).parts[:-1]]
    of_folders = dict.fromkeys((name for name, equals, _ in folders if equals), pa.string())
    named = _check_columns(file, named, [*of_folders, *(name for name in schemas[0].names if name not in of_folders)])
    wanted = list(dict.fromkeys(named.values()))
    # A column that is empty in one of the files has no type there; any other difference of types is an error.
    of_files = [pa.schema([field for field in schema if field.name in wanted]) for schema in schemas]
    dataset = pa.dataset.dataset(
        list(map(str, parts)),
        schema=pa.unify_schemas([pa.schema(of_folders), *of_files]),
        format="parquet",
        partitioning=pa.dataset.partitioning(pa.schema(of_folders), flavor="hive"),
        partition_base_dir=str(file),
    )
    return dataset.to_table(columns=wanted), named


def parquet_files(folder: Path) -> list[Path]:
    """Return the Parquet files below `folder`, sorted. It is a UserError if there are none.

    Hidden files and folders, whose names begin with . or _, are left out.
    """
    found = [path for path in sorted(folder.rglob("*.parquet")) if path.is_file()]
    found = [path for path in found if not any(part[0] in "._" for part in path.relative_to(folder).parts)]
    if not found:
        raise UserError(
            f"data.file: there is no file {folder}: it is a folder, without Parquet files (*.parquet) in it"
        )
    return found


def _check_columns(file: Path, named: Mapping[str, str], names: list[str]) -> dict[str, str]:
    """Return `named` with the names of the columns as `file` spells them. `names` has all columns of `file`.

    It is a UserError if a column of `named` is missing, or if several columns of the file have its name.
    """
    as_written = {one_form(name): name for name in names}
    named = {key: name if name in names else as_written.get(one_form(name), name) for key, name in named.items()}
    for key, name in named.items():
        if name not in names:
            marks = [mark for mark in ";\t|" if len(names) == 1 and mark in names[0]]
            separated = f" They are separated by {marks[0]!r}: save the file with commas." if marks else ""
            raise UserError(
                f"data.{key}: {file} has no column {name!r}.{did_you_mean(name, names)} Its columns: "
                f"{', '.join(map(repr, names))}.{separated}"
            )
        if (times := names.count(name)) > 1:
            raise UserError(f"data.{key}: {file} has {times} columns {name!r}: rename all but one")
    return named
