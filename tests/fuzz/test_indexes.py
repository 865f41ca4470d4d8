"""Indexes of images that a disk, or another program, has changed: searched, or refused, and never a traceback."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mdr_tune.retrieve import read_index, search_index
from mdr_tune.retrieve.index_file import METADATA_KEY
from tests.fuzz.attempts import check_each, some_seeds
from tests.retrieve.make import write

ODD: tuple[Any, ...] = (None, 0, -1, True, 1.5, 10**30, float("inf"), "", "x", "\0", "\ud800", [], {}, [1, 2])


def damaged(data: bytes, random: Random) -> bytes:
    """Return a file's bytes, cut off or with some of them changed."""
    if random.random() < 0.3:
        return data[: random.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(random.choice((1, 3, 20))):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def changed_table(table: pa.Table, random: Random) -> pa.Table:
    """Return a table with other metadata, other columns, or no rows."""
    columns = dict(zip(table.column_names, table.columns, strict=True))
    metadata = dict(table.schema.metadata)
    name = random.choice(table.column_names)
    match random.randrange(6):
        case 0:
            columns.pop(name)
        case 1:
            columns[name] = pa.array([random.choice((1, None, 2.5)) for _ in range(len(table))])
        case 2:
            columns[name] = pa.array([None] * len(table), table.schema.field(name).type)
        case 3:
            columns = {name: column.slice(0, 0) for name, column in columns.items()}
        case 4:
            metadata[METADATA_KEY] = random.choice((b"", b"\xff", b"{}", b"[]", b"null", b"[" * 9000))
        case _:
            info = json.loads(metadata[METADATA_KEY])
            info[random.choice([*info, "more"])] = random.choice(ODD)
            metadata[METADATA_KEY] = json.dumps(info).encode()
    return pa.table(columns).replace_schema_metadata(metadata)


@some_seeds
def test_an_index_is_searched_or_refused(tmp_path: Path, seeds: range) -> None:
    whole = write(tmp_path / "whole.parquet", torch.randn(23, 5)).file
    table, file = pq.read_table(whole), tmp_path / "changed.parquet"

    def attempt(random: Random) -> None:
        if random.random() < 0.5:
            file.write_bytes(damaged(whole.read_bytes(), random))
        else:
            pq.write_table(changed_table(table, random), file)
        index = read_index(file)
        found = search_index(index, index.embeddings()[:2], 3)
        for row in found.rows.flatten().tolist():
            str(index.paths[row]), str(index.labels[row])

    check_each(seeds, attempt)
