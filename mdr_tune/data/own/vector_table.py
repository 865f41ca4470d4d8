"""Open a Parquet file of vectors that another model made, such as the index that `mdr-tune embed` writes.

A row has a vector, a label, and perhaps a split and a role.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mdr_tune.data.dataset import OpenedDataset
from mdr_tune.data.images.fingerprint import content_key
from mdr_tune.data.listings.listing import ChosenImages, Listing, assemble
from mdr_tune.data.listings.open_listing import ListedDataset, draw_splits
from mdr_tune.data.outline import DatasetOutline
from mdr_tune.data.own.table import class_columns
from mdr_tune.data.own.table_file import TableFile, parquet_files, read_table_file
from mdr_tune.data.vectors import Vectors, write_vectors
from mdr_tune.util.cache_folder import locked
from mdr_tune.util.disk_space import check_free
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress

NAME = "features"
FOLDER = "vectors"
"""Name of the folder, in the cache folder, that holds the files of vectors."""
VERSION = 1  # raise it whenever the files of vectors change
_HEADER_BYTES = 128
_ROW = "row "


def outline_vectors(**arguments: Any) -> DatasetOutline:
    """Return the number of vectors of each class. Arguments and errors are those of `open_vectors`.

    All vectors are read and checked, at the first call in a process.
    """
    return _listed(arguments)[0].outline()


def vector_size(**arguments: Any) -> int:
    """Return the length of each vector. Arguments and errors are those of `open_vectors`."""
    return _listed(arguments)[1]


def open_vectors(folder: Path, progress: Progress, **arguments: Any) -> OpenedDataset:
    """Open a file of vectors as a data set, whose images are `Vectors`.

    The vectors are copied once to a file in the cache `folder`. All processes of a machine map this file into memory.

    Args:
        folder: the cache folder.
        progress: called while the file is read.
        arguments: `file`, a Parquet file or a folder of them; the names `vector_column`, `label_column`, `split_column`
            and `role_column` of its columns, of which the last two may be None; and `recall_ks`,
            `single_image_classes`, `validation`, `test` and perhaps `pairs` of `Opening`.

    Raises:
        UserError: the file cannot be read; a vector is null, not finite or of another length than the first one; the
            labels, splits or roles are wrong (see `list_table`); or the splits cannot be drawn (see `draw_splits`).
    """
    listed, size = _listed(arguments)
    file = Path(arguments["file"])
    folder = folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    parts = [str(part.relative_to(file.parent)) for part in _parts(file)]
    content = content_key(file.parent, parts, folder, progress)
    named = json.dumps([VERSION, content, arguments["vector_column"], len(parts)])
    target = folder / f"{NAME}-{hashlib.blake2b(named.encode(), digest_size=10).hexdigest()}.npy"
    with locked(target):
        if not target.exists():
            table = _read(file, arguments)
            check_free(folder, len(table) * size * 4 + _HEADER_BYTES, f"for the vectors of {file}")
            write_vectors(target, len(table), size, blocks_of(table))
    listing = listed.listing
    rows = np.array([int(path.removeprefix(_ROW)) for path in listing.paths], dtype=np.int64)  # some may be left out
    images = ChosenImages(Vectors(target), rows)
    return assemble(NAME, listing, images, tuple(arguments["recall_ks"]), target.stem, target, listed.pairs)


def _listed(arguments: dict[str, Any]) -> tuple[ListedDataset, int]:
    """Return the rows with their splits, and the length of the vectors. A process reads an unchanged file only once."""
    states = tuple((str(part), *_state(part)) for part in _parts(Path(arguments["file"])))
    return _read_once(json.dumps(arguments, sort_keys=True), states)


@lru_cache(maxsize=4)
def _read_once(arguments_text: str, states: tuple[tuple[str, int, int], ...]) -> tuple[ListedDataset, int]:
    arguments = json.loads(arguments_text)
    file = Path(arguments["file"])
    table = _read(file, arguments)
    size = check_vectors(table)
    rows = tuple(f"{_ROW}{row}" for row in range(len(table)))
    listing = Listing(file.parent, rows, *class_columns(table))
    keys = ("recall_ks", "single_image_classes", "validation", "test", "pairs")
    shares = {key: arguments[key] for key in keys if key in arguments}
    return draw_splits(NAME, listing, resize=0, cache=True, corrupt="refuse", **shares), size


def _parts(file: Path) -> list[Path]:
    return parquet_files(file) if os.path.isdir(file) else [file]


def _state(part: Path) -> tuple[int, int]:
    try:
        found = os.stat(part)
    except OSError as error:
        raise UserError(f"data.file: cannot read {part} ({error.strerror})") from None
    return found.st_size, found.st_mtime_ns


def _read(file: Path, arguments: dict[str, Any]) -> TableFile:
    if file.suffix.lower() == ".csv":
        raise UserError(
            f"data.file: {file} is a CSV, which has no column of vectors: write a Parquet file (pandas: to_parquet), "
            "with a list of numbers in each row"
        )
    columns = {key: arguments[key] for key in ("vector_column", "label_column", "split_column", "role_column")}
    return read_table_file(file, {key: name for key, name in columns.items() if name is not None})


def check_vectors(table: TableFile) -> int:
    """Check the `vector_column` of `table`, and return the length of its vectors. Errors: see `open_vectors`."""
    key, column = "vector_column", table.columns[table.named["vector_column"]]
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    numbers = column.type.value_type if is_list or pa.types.is_fixed_size_list(column.type) else None
    if numbers is None or not (pa.types.is_floating(numbers) or pa.types.is_integer(numbers)):
        raise UserError(
            f"data.{key}: column {table.named[key]!r} of {table.file} holds {column.type}, and not a list of numbers "
            "in each row"
        )
    lengths = pc.list_value_length(column).to_numpy()
    if (missing := np.isnan(lengths.astype(np.float64))).any():
        raise table.wrong(key, missing, "have no vector: leave them out")
    size = int(lengths[0])
    if size == 0:
        raise table.wrong(key, lengths == 0, "have an empty vector")
    if (others := lengths != size).any():
        raise table.wrong(key, others, f"have a vector of another length than the first row, {size}")
    start = 0
    odd = np.zeros(len(table), dtype=bool)
    for block in blocks_of(table):
        odd[start : start + len(block)] = ~np.isfinite(block).all(axis=1)
        start += len(block)
    if odd.any():
        raise table.wrong(key, odd, "have a vector with a number that is missing, or not finite in float32")
    return size


def blocks_of(table: TableFile) -> Iterator[np.ndarray]:
    """Yield the vectors of `table` chunk by chunk, (m, F) float32. A missing number is NaN."""
    for chunk in table.columns[table.named["vector_column"]].chunks:
        if len(chunk):
            with np.errstate(over="ignore"):
                numbers = chunk.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
            yield numbers.reshape(len(chunk), -1)
