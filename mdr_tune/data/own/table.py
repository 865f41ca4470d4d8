"""List a user's own images in a CSV or Parquet table. Each row has a path, a label, and perhaps a split and a role.

The table is processed by columns, never by rows, so that a million rows take seconds.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mdr_tune.data.dataset import SPLIT_NAMES
from mdr_tune.data.listings.listing import BOTH, Listing
from mdr_tune.data.listings.listing_checks import examples
from mdr_tune.data.listings.open_listing import ListedDataset, Opening, draw_splits
from mdr_tune.data.own.class_names import class_name, warn_of_spellings
from mdr_tune.data.own.split_words import ROLE_WORDS, SPLIT_WORDS, split_word
from mdr_tune.data.own.table_file import PERHAPS_MISSING, TableFile, read_table_file
from mdr_tune.data.own.table_paths import listed_paths
from mdr_tune.util.text_forms import one_form

logger = logging.getLogger(__name__)


def listed_table(
    *,
    file: str,
    root: str,
    path_column: str,
    label_column: str,
    split_column: str | None,
    role_column: str | None,
    **opening: Unpack[Opening],
) -> ListedDataset:
    """List the images of a table (see `list_table`), and put them into splits by `opening` (see `draw_splits`)."""
    listing = list_table(
        Path(file),
        Path(root),
        path_column=path_column,
        label_column=label_column,
        split_column=split_column,
        role_column=role_column,
    )
    return draw_splits("table", listing, **opening)


def list_table(
    file: Path,
    root: Path,
    *,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str | None = None,
    role_column: str | None = None,
) -> Listing:
    """List the images of a table, in the order of its rows.

    A label is the name of a class: a whole number, or text, from which blanks at both ends are removed. A label means
    the same class in CSV and in Parquet. The texts 007 and 7 are two labels. Labels that look the same are one class,
    and a warning is logged. Classes are ordered by the code points of their names. So the classes that are drawn for
    validation do not depend on the order of the rows or on the format.

    Args:
        file: CSV with a header (`.csv`), Parquet (`.parquet`), or a folder of Parquet files.
        root: folder that paths are relative to.
        path_column: name of the column of paths, relative to `root` or absolute. No two rows may list the same file.
            Files that systems create, such as those in `@eaDir`, are left out with a warning.
        label_column: name of the column of labels.
        split_column: name of the column of splits: words of `SPLIT_WORDS`, such as train, validation, test, query or
            gallery, in lower or upper case. None: all rows are training images, and other splits are drawn later.
        role_column: name of the column of roles: query, gallery, both, or an empty cell. If a cell is empty or has
            `both`, the role follows from `split_column`. None: all roles follow from `split_column`.

    Raises:
        UserError: the file cannot be read, a column is missing, or values are wrong (the message names their rows).
    """
    columns = {"path": path_column, "label": label_column, "split": split_column, "role": role_column}
    table = read_table_file(file, {f"{key}_column": name for key, name in columns.items() if name is not None})
    class_ids, class_names, splits, roles = class_columns(table)
    paths, is_image = listed_paths(table, root)
    listing = Listing(root, paths, class_ids, class_names, splits, roles)
    return listing if is_image.all() else listing.select(is_image)


def class_columns(table: TableFile) -> tuple[np.ndarray, tuple[str, ...], np.ndarray, np.ndarray]:
    """Return `class_ids`, `class_names`, `splits` and `roles` of the rows of `table`, as a `Listing` has them.

    `table` has the columns `label_column` and perhaps `split_column` and `role_column`, which `list_table` explains.
    Errors are those of `list_table`.
    """
    splits, roles = np.full(len(table), SPLIT_NAMES.index("train"), dtype=np.int8), np.full(len(table), BOTH, np.int8)
    if "split_column" in table.named:
        meanings = np.array(list(SPLIT_WORDS.values()), dtype=np.int8)
        splits, roles = meanings[_words(table, "split_column", SPLIT_WORDS)].T
    if "role_column" in table.named:
        given = np.array(list(ROLE_WORDS.values()), dtype=np.int8)[_words(table, "role_column", ROLE_WORDS)]
        if (contrary := (roles != BOTH) & (given != BOTH) & (roles != given)).any():
            raise table.wrong("role_column", contrary, f"contradict column {table.named['split_column']!r}")
        roles = np.where(given == BOTH, roles, given)
    return *_classes(table), splits, roles


def _classes(table: TableFile) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the class id of each row of `table`, (n,) int64, and the names of the classes, by id."""
    labels = table.text("label_column", numbers=True)
    if (missing := table.is_missing(labels)).any():
        words = sorted({one_form(label or "") for label in labels.filter(pa.array(missing)).to_pylist()} - {""})
        wrote = f" (such as {examples(words)}, as programs write a missing value)" if words else ""
        raise table.wrong("label_column", missing, f"have no label{wrote}; leave them out, or give each a class")
    codes, written = _distinct(labels)
    spelled = [class_name(text) for text in written]
    warn_of_spellings(table.file, ((name, text.strip()) for name, text in zip(spelled, written, strict=True)))
    names = sorted(set(spelled))
    if doubtful := [name for name in names if PERHAPS_MISSING.fullmatch(name)]:
        key = f"data.label_column: column {table.named['label_column']!r} of {table.file}"
        logger.warning(
            "%s has the label %s, which is a class like any other; if it stands for no label, leave these rows out, "
            "or name data.label_column another column",
            key,
            examples(doubtful),
        )
    id_of = {name: index for index, name in enumerate(names)}
    return np.array([id_of[name] for name in spelled], dtype=np.int64)[codes], tuple(names)


def _words(table: TableFile, key: str, meanings: Mapping[str, Any]) -> np.ndarray:
    """Return for each row of the column `key` of `table` the index of its word among the keys of `meanings`, (n,).

    It is a UserError, which lists these keys, if a word is none of them.
    """
    codes, written = _distinct(pc.fill_null(table.text(key), ""))
    known = {word: index for index, word in enumerate(meanings)}
    words = [split_word(text) for text in written]
    indices = np.array([known.get(word, -1) for word in words], dtype=np.int64)[codes]
    if (unknown := indices < 0).any():
        some = [word for word in words if word not in known]
        raise table.wrong(
            key, unknown, f"have something else than {', '.join(filter(None, meanings))}, such as {examples(some)}"
        )
    return np.asarray(indices)


def _distinct(values: pa.Array) -> tuple[np.ndarray, list[str]]:
    """Return the index of each of `values` in the list of distinct values, (n,), and this list."""
    encoded = values.dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
