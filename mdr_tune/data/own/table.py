"""Your own images in a table, CSV or Parquet: a path and a label a row, perhaps a split and a role.

Column by column, never row by row: a million rows take seconds.
"""

import os
import posixpath
from pathlib import Path
from typing import Unpack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mdr_tune.data.dataset import SPLIT_NAMES, OpenedDataset
from mdr_tune.data.listings.listing import BOTH, Listing
from mdr_tune.data.listings.listing_checks import examples
from mdr_tune.data.listings.open_listing import Opening, open_listing
from mdr_tune.data.own.split_words import ROLE_WORDS, SPLIT_WORDS
from mdr_tune.data.own.table_file import TableFile, read_table_file
from mdr_tune.progress import Progress, no_progress
from mdr_tune.words import count

# Of paths that may name a file that another spelling names too: absolute, or with an empty segment, "." or "..".
_OTHER_SPELLINGS = r"^/|//|(^|/)\.\.?(/|$)"


def open_table(
    folder: Path,
    progress: Progress = no_progress,
    *,
    file: str,
    root: str,
    path_column: str,
    label_column: str,
    split_column: str | None,
    role_column: str | None,
    **opening: Unpack[Opening],
) -> OpenedDataset:
    """Return the data set that a table lists; see `list_table` for its columns, `open_listing` for the rest."""
    listing = list_table(
        Path(file),
        Path(root),
        path_column=path_column,
        label_column=label_column,
        split_column=split_column,
        role_column=role_column,
    )
    return open_listing("table", listing, folder, progress, **opening)


def list_table(
    file: Path,
    root: Path,
    *,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str | None = None,
    role_column: str | None = None,
) -> Listing:
    """List the images of a table, in its order.

    A label is the name of a class: text without the space around it, or a whole number, and the same in CSV and in
    Parquet (007 and 7 are two labels in text). Classes are ordered by name, code point by code point, so that neither
    the order of the rows nor the format has a say in which ones are drawn for validation.

    Args:
        file: CSV with a header (`.csv`) or Parquet (`.parquet`).
        root: the folder that paths are relative to.
        path_column: of the images' paths, relative to `root` or absolute; each file once, however it is spelled.
        label_column: of the labels.
        split_column: of train, validation (or val), test, query, gallery; the last two are test images. In any case,
            with or without space. None: all rows are training images, of which the other splits are to be drawn.
        role_column: of query, gallery, both or nothing. None: what `split_column` says.

    Raises:
        UserError: the file, a column or a value is not as it should be; the message names rows.
    """
    named = {"path_column": path_column, "label_column": label_column}
    named |= {"split_column": split_column} if split_column is not None else {}
    named |= {"role_column": role_column} if role_column is not None else {}
    table = read_table_file(file, named)
    splits, roles = np.full(len(table), SPLIT_NAMES.index("train"), dtype=np.int8), np.full(len(table), BOTH, np.int8)
    if split_column is not None:
        meanings = np.array(list(SPLIT_WORDS.values()), dtype=np.int8)
        splits, roles = meanings[_words(table, "split_column", list(SPLIT_WORDS))].T
    if role_column is not None:
        given = np.array(list(ROLE_WORDS.values()), dtype=np.int8)[_words(table, "role_column", list(ROLE_WORDS))]
        if (contrary := (roles != BOTH) & (given != BOTH) & (roles != given)).any():
            raise table.wrong("role_column", contrary, f"contradict column {split_column!r}")
        roles = np.where(given == BOTH, roles, given)
    class_ids, class_names = _classes(table)
    return Listing(root, _paths(table, root), class_ids, class_names, splits, roles)


def _paths(table: TableFile, root: Path) -> tuple[str, ...]:
    """Return the images' paths as they are written: a ".." after a link leads elsewhere than its text says."""
    paths = table.text("path_column")
    if (missing := _is_empty(paths)).any():
        raise table.wrong("path_column", missing, "have no path")
    files = _normalised(paths, root)
    encoded = files.dictionary_encode()
    codes = encoded.indices.to_numpy()
    if len(encoded.dictionary) < len(codes):
        repeated = np.bincount(codes)[codes] > 1
        some = dict.fromkeys(files.filter(pa.array(repeated)).to_pylist())
        raise table.wrong(
            "path_column", repeated, f"share {count(len(some), 'path')}, such as {examples(some)}; list each image once"
        )
    return tuple(paths.to_pylist())


def _normalised(paths: pa.Array, root: Path) -> pa.Array:
    """Return one spelling of each path, (n,) text: relative to `root`, if the file is below it."""
    several = pc.match_substring_regex(paths, _OTHER_SPELLINGS)
    above = os.path.abspath(root).rstrip("/") + "/"

    def normalise(path: str) -> str:
        absolute = "/" + posixpath.normpath(posixpath.join(above, path)).lstrip("/")  # normpath leaves // in front
        return absolute.removeprefix(above)

    normalised = [normalise(path) for path in paths.filter(several).to_pylist()]
    return pc.replace_with_mask(paths, several, pa.array(normalised, paths.type))


def _classes(table: TableFile) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the class ids, (n,) int64, and the names of the classes."""
    labels = pc.utf8_trim_whitespace(table.text("label_column", numbers=True))
    if (missing := _is_empty(labels)).any():
        raise table.wrong("label_column", missing, "have no label; leave them out, or give each a class")
    encoded = labels.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    id_of_code = np.empty(len(order), dtype=np.int64)
    id_of_code[order] = np.arange(len(order))
    return id_of_code[encoded.indices.to_numpy()], tuple(encoded.dictionary.take(pa.array(order)).to_pylist())


def _words(table: TableFile, key: str, known: list[str]) -> np.ndarray:
    """Return which of the `known` words each row's value is, (n,) indices."""
    values = pc.utf8_lower(pc.utf8_trim_whitespace(pc.fill_null(table.text(key), "")))
    indices = pc.index_in(values, value_set=pa.array(known, values.type)).fill_null(-1).to_numpy()
    if (unknown := indices < 0).any():
        some = dict.fromkeys(values.filter(pa.array(unknown)).to_pylist())
        words = ", ".join(word for word in known if word)
        raise table.wrong(key, unknown, f"have something else than {words}, such as {examples(some)}")
    return np.asarray(indices)


def _is_empty(values: pa.Array) -> np.ndarray:
    return np.asarray(pc.equal(pc.fill_null(values, ""), "").to_numpy(zero_copy_only=False))
