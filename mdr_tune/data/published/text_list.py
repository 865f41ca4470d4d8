"""Read the lists of a published data set: text files with columns, and one item, such as an image, on each line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdr_tune.util.errors import UserError


@dataclass(frozen=True)
class TextList:
    """The columns of a list that was read from the text file `path`.

    Attributes:
        columns: n values of each column, by the name of the column.
        lines: line number of each of the n rows, from 1. Empty lines are not rows.
        preamble: lines above the header.
    """

    path: Path
    columns: dict[str, tuple[str, ...]]
    lines: tuple[int, ...]
    preamble: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, column: str) -> tuple[str, ...]:
        return self.columns[column]

    def integers(self, column: str) -> np.ndarray:
        """Return `column` as (n,) int64. It is a UserError, which names the line, if a value is not a whole number."""
        values = self.columns[column]
        try:
            return np.fromiter(map(int, values), np.int64, len(values))
        except (ValueError, OverflowError):
            row = next(row for row, value in enumerate(values) if not _is_int64(value))
            raise self.error(row, f"{column} must be a whole number, found {values[row]!r}") from None

    def error(self, row: int, problem: str) -> UserError:
        """Return an error whose message has the file, the line number of `row` (from 0), and the `problem` there."""
        return UserError(f"data.root: {self.path}, line {self.lines[row]}: {problem}")


def read_list(path: Path, columns: Sequence[str], header_line: int | None = None) -> TextList:
    """Read the UTF-8 file `path`, whose lines have the `columns` (names, in order), separated by white space.

    `header_line` is the number, from 1, of the line with the names of the columns. None: there is no header. It is a
    UserError if the file cannot be read, the header differs, or a line has too few or too many columns.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"data.root: there is no {path}, which belongs to the data set: unpack it anew") from None
    except UnicodeDecodeError as error:
        raise UserError(f"data.root: {path} is no text file ({error.reason}): unpack the data set anew") from None
    except OSError as error:
        raise UserError(f"data.root: cannot read {path}: {error.strerror}") from None
    every_line = text.split("\n")  # not splitlines, which also ends a line at characters that a name may have
    start = header_line or 0
    if header_line is not None:
        found = every_line[start - 1].split() if len(every_line) >= start else []
        if found != list(columns):
            raise UserError(
                f"data.root: {path}, line {start}: expected the header {' '.join(columns)!r}, found {' '.join(found)!r}"
            )
    fields = [line.split() for line in every_line[start:]]
    lines = tuple(number for number, parts in enumerate(fields, start + 1) if parts)
    rows = [parts for parts in fields if parts]
    for number, parts in zip(lines, rows, strict=True):
        if len(parts) != len(columns):
            raise UserError(
                f"data.root: {path}, line {number}: expected {len(columns)} columns ({' '.join(columns)}), "
                f"found {' '.join(parts)!r}"
            )
    by_column = list(zip(*rows, strict=True)) or [()] * len(columns)
    return TextList(path, dict(zip(columns, by_column, strict=True)), lines, tuple(every_line[: max(start - 1, 0)]))


def _is_int64(value: str) -> bool:
    try:
        return -(2**63) <= int(value) < 2**63
    except ValueError:
        return False
