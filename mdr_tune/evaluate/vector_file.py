"""A Parquet file of vectors as a model: it has the embedding of each image of the data set in a row."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from mdr_tune.config.datasets import Dataset
from mdr_tune.data import ImageSplit, SplitName, split_files
from mdr_tune.data.own.table_file import TableFile, parquet_files, read_table_file
from mdr_tune.data.own.vector_table import blocks_of, check_vectors
from mdr_tune.retrieve.index_file import METADATA_KEY
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import plural

PATH, VECTOR = "path", "embedding"
"""Names of the columns, as `mdr-tune embed` writes them."""


class RowsInMemory:
    """Vectors (n, F) float32, read like images of one row, (n, 1, 1, F); see `mdr_tune.data.Images`."""

    dtype = torch.float32

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = torch.from_numpy(vectors)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all vectors together, (n, 1, 1, F)."""
        return (len(self._vectors), 1, 1, self._vectors.shape[1])

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        return self._vectors[indices][:, None, None, :]


def vector_size(file: Path) -> int:
    """Return the length F of the vectors in `file`. Raise UserError if it is not a file of vectors with paths."""
    with _naming(file):
        return check_vectors(_read(file))


def with_vectors(split: ImageSplit, file: Path, data: Dataset, name: SplitName) -> ImageSplit:
    """Return `split`, the split `name` of `data`, with the vectors of `file` in place of the images.

    A row belongs to the image whose path it has. Paths are absolute, or relative to the folder that `mdr-tune embed`
    read, or to the folder of the data set's images.

    Raises:
        UserError: The images of `data` are in no files, or an image has no row, or several.
    """
    files = split_files(data, name)
    if files is None:
        raise UserError(
            f"{file}: its rows name image files, and the images of {data.name} are in none, or some were left out: "
            "a file of vectors is for a data set of image files that can all be decoded"
        )
    with _naming(file):
        table = _read(file)
        check_vectors(table)
        rows = _rows_of([*files[0], *files[1]], table, _folders(file, files[0]))
        vectors = np.concatenate(list(blocks_of(table)))
    queries = RowsInMemory(vectors[rows[: len(split)]])
    gallery = split.gallery
    if gallery is not None:
        gallery = replace(gallery, images=RowsInMemory(vectors[rows[len(split) :]]), pictures=gallery.images)
    return replace(split, images=queries, pictures=split.images, gallery=gallery)


def _read(file: Path) -> TableFile:
    return read_table_file(file, {"path_column": PATH, "vector_column": VECTOR})


def _folders(file: Path, images: Sequence[str]) -> Iterator[str]:
    """Yield the folders that paths in `file` may be relative to, the most likely first."""
    first = parquet_files(file)[0] if os.path.isdir(file) else file
    about = (pq.read_schema(os.fspath(first)).metadata or {}).get(METADATA_KEY)
    if about is not None:
        yield str(json.loads(about)["root"])
    yield os.path.commonpath(list(map(os.path.dirname, images)))
    yield from map(str, Path(os.path.commonpath(list(map(os.path.dirname, images)))).parents)


def _rows_of(images: Sequence[str], table: TableFile, folders: Iterator[str]) -> np.ndarray:
    """Return the row of `table` that each of `images`, absolute paths, has: (n,) int64.

    Of `folders`, which the paths in the table may be relative to, the first is taken in which any of them is found.
    """
    paths = table.text("path_column").to_pylist()
    wanted, row_of = set(images), dict[str, int]()
    for folder in folders:
        found = [os.path.normpath(os.path.join(folder, path)) if path is not None else "" for path in paths]
        if not wanted.isdisjoint(found):
            repeated = np.zeros(len(found), dtype=bool)
            for row, path in enumerate(found):
                repeated[row] = path in row_of and path in wanted
                row_of.setdefault(path, row)
            if repeated.any():
                raise table.wrong("path_column", repeated, "name an image that an earlier row names too")
            break
    missing = [path for path in images if path not in row_of]
    if missing:
        raise UserError(
            f"has no row for {len(missing):,} of {len(images):,} {plural(len(images), 'image')}, such as {missing[0]}: "
            "embed all images of the split"
        )
    return np.array([row_of[path] for path in images], dtype=np.int64)


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Put `file` in place of the key of a sweep file, which begins the text of a UserError that the block raises."""
    try:
        yield
    except UserError as error:
        key, _, text = str(error).partition(": ")
        raise UserError(f"{file}: {text if key.startswith('data.') else error}") from None
