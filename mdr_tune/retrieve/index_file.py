"""The index file of embedded images: Parquet with the columns path, label and embedding, and metadata of the model."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from pydantic import TypeAdapter

from mdr_tune.data.images.decoding import Interpolation
from mdr_tune.metric.ranking import NOT_RANKED, can_be_ranked
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import atomic_write, check_on_disk
from mdr_tune.util.words import first_line

METADATA_KEY = b"mdr_tune.index"
"""Key in the metadata of the Parquet schema. Its value is an `IndexInfo` as JSON."""
_ROW_GROUP_NUMBERS = 2**22
"""Number of coordinates of embeddings that a writer collects before it writes a row group: 16 MiB of float32."""
_BLOCK_NUMBERS = 2**24
"""Number of coordinates of embeddings in a block that is read: 64 MiB of float32."""


@dataclass(frozen=True)
class IndexInfo:
    """Metadata of an index: how it was made.

    Attributes:
        model: URI of the model's version.
        identity: Identity of the model (`Embedder.identity`). Two indexes are comparable if their identities are equal.
        run_id: ID of the MLflow run that trained the model; None if it is not known.
        root: Folder of the images. The paths in the index are relative to it.
        image_shape: (C, H, W) of the network's images.
        resize: Height and width, in pixels, that images were resized to before their centre crop.
        created: Date and time in UTC, ISO 8601.
        interpolation: Filter by which images were resized. Older files do not have it, and it is the default.
    """

    model: str
    identity: str
    run_id: str | None
    root: str
    image_shape: tuple[int, int, int]
    resize: int
    created: str
    version: str
    interpolation: Interpolation = "lanczos"


class IndexWriter:
    """Collects embeddings, and writes them to a Parquet file in row groups."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema, size: int) -> None:
        self._writer, self._schema, self._size = writer, schema, size
        self._paths: list[str] = []
        self._labels: list[str | None] = []
        self._embeddings: list[torch.Tensor] = []

    def add(self, paths: Sequence[str], labels: Sequence[str | None], embeddings: torch.Tensor) -> None:
        """Add n rows; `paths` and `labels` have n items, and `embeddings` is (n, D) float32 on the CPU.

        A row group is written once it is full.
        """
        self._paths += paths
        self._labels += labels
        self._embeddings.append(embeddings)
        if len(self._paths) * self._size >= _ROW_GROUP_NUMBERS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that were added since the last row group."""
        if not self._paths:
            return
        numbers = torch.cat(self._embeddings).contiguous().numpy().reshape(-1)
        embeddings = pa.FixedSizeListArray.from_arrays(pa.array(numbers), self._size)
        columns = [pa.array(self._paths, pa.string()), pa.array(self._labels, pa.string()), embeddings]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._paths, self._labels, self._embeddings = [], [], []


@contextmanager
def writing_index(file: Path, info: IndexInfo, size: int) -> Iterator[IndexWriter]:
    """Create the index file `file` with the metadata `info`, and yield its writer. Embeddings have `size` numbers each.

    The complete file appears when the block ends without an error. UserError is raised if it cannot be written.
    """
    embedding = pa.field("embedding", pa.list_(pa.float32(), size), nullable=False)
    columns = [pa.field("path", pa.string(), nullable=False), pa.field("label", pa.string()), embedding]
    schema = pa.schema(columns, metadata={METADATA_KEY: json.dumps(asdict(info)).encode()})
    # Compression hardly makes embeddings smaller, and without it they are read at the speed of memory.
    how: dict[str, Any] = {
        "compression": {"path": "zstd", "label": "zstd", "embedding.list.element": "none"},
        "use_dictionary": ["label"],
        "write_statistics": False,
    }
    try:
        with atomic_write(file) as opened, pq.ParquetWriter(opened, schema, **how) as writer:
            rows = IndexWriter(writer, schema, size)
            yield rows
            rows.flush()
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror or error})") from error


@dataclass(frozen=True)
class EmbeddingIndex:
    """An opened index file of N embeddings with `size` numbers each. The embeddings are not in memory.

    `paths` and `labels` have N texts, one for each image. Paths are relative to `info.root`; the label of an image
    without a class is null.
    """

    file: Path
    info: IndexInfo
    paths: pa.ChunkedArray
    labels: pa.ChunkedArray
    size: int

    def __len__(self) -> int:
        return len(self.paths)

    def blocks(self, rows: int | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield blocks of at most `rows` embeddings: the index of the first row, and the embeddings (n, D) float32.

        If `rows` is None, a block has 64 MiB. UserError is raised if the file is damaged or has changed since it was
        opened, or if an embedding is not finite or too large to be compared.
        """
        start = 0
        try:
            with pq.ParquetFile(_mapped(self.file)) as file:
                batches = file.iter_batches(rows or max(1, _BLOCK_NUMBERS // self.size), columns=["embedding"])
                for batch in batches:
                    numbers = batch.column(0).flatten().to_numpy()
                    embeddings = torch.from_numpy(np.array(numbers).reshape(-1, self.size))
                    if not can_be_ranked(embeddings):
                        raise UserError(f"{self.file} has {NOT_RANKED}: embed anew")
                    yield start, embeddings
                    start += len(batch)
            if start != len(self):
                raise UserError(f"{self.file} has {start:,} embeddings of {len(self):,} images: embed anew")
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self.file} cannot be read any more ({first_line(error)}): embed anew") from error

    def embeddings(self) -> torch.Tensor:
        """Read and return all embeddings, (N, D) float32."""
        return torch.cat([torch.empty(0, self.size), *(block for _, block in self.blocks())])

    def rows_of(self, paths: Sequence[str | None]) -> torch.Tensor:
        """Return the row index of each of `paths`, (n,) int64; -1 for None and for a path that is not in the file.

        Paths must be written as in the file: relative to `info.root`.
        """
        rows = pc.index_in(pa.array(paths, pa.string()), value_set=self.paths.combine_chunks(), skip_nulls=True)
        return torch.from_numpy(np.array(pc.fill_null(rows, -1), dtype=np.int64))


def read_index(file: Path) -> EmbeddingIndex:
    """Open `file`, which `embed_folder` wrote, without reading its embeddings yet.

    Raises:
        UserError: The file does not exist, is not Parquet, is damaged, has no rows, or was written by another program.
    """
    try:
        check_on_disk(file)
        source = _mapped(file)
        schema = pq.read_schema(source)
        info = _info(schema)
        if info is None:
            raise UserError(f"{file} was not made by `mdr-tune embed`, or is damaged: give a file that was made so")
        table = pq.read_table(source, columns=["path", "label"])
        table.validate(full=True)  # texts are UTF-8
        if len(table) == 0 or table["path"].null_count:
            raise UserError(f"{file} has {'no rows' if len(table) == 0 else 'rows without a path'}: embed anew")
    except FileNotFoundError:
        raise UserError(f"there is no file {file}: `mdr-tune embed` makes it") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as Parquet ({first_line(error)}): `mdr-tune embed` makes it") from None
    return EmbeddingIndex(file, info, table["path"], table["label"], schema.field("embedding").type.list_size)


def _mapped(file: Path) -> pa.MemoryMappedFile:
    return pa.memory_map(os.fsencode(file))  # as bytes: pyarrow does not accept a text that is not UTF-8


def _info(schema: pa.Schema) -> IndexInfo | None:
    """Return the metadata in `schema`; None if this is not the schema of an index file."""
    types = {field.name: field.type for field in schema}
    embedding = types.get("embedding")
    if types.get("path") != pa.string() or types.get("label") != pa.string():
        return None
    if not isinstance(embedding, pa.FixedSizeListType) or embedding.value_type != pa.float32():
        return None
    try:  # unlike pydantic, json reads folder names that are not UTF-8
        return TypeAdapter(IndexInfo).validate_python(json.loads((schema.metadata or {}).get(METADATA_KEY, b"")))
    except (ValueError, RecursionError):  # ValidationError is a ValueError
        return None
