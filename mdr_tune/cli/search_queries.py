"""Read the queries of `mdr-tune search`, and their embeddings.

A query is an image, an image of a folder, or a row of another index.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mdr_tune.cli.flags import load_model, naming, print_left_out
from mdr_tune.cli.progress_bars import progress_bars
from mdr_tune.cli.terminal import make_console
from mdr_tune.retrieve import Embedder, EmbeddingIndex, embed_images, read_index
from mdr_tune.retrieve.pictures import list_images
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import no_progress
from mdr_tune.util.words import escaped


@dataclass(frozen=True)
class Queries:
    """Q queries with embeddings of D dimensions.

    `names` are shown to the user; bytes that are not UTF-8 are escaped in them. `files` are the absolute paths of the
    images, and `embeddings` are (Q, D).
    """

    names: list[str]
    files: list[Path]
    embeddings: torch.Tensor

    def paths_in(self, index: EmbeddingIndex) -> list[str | None]:
        """Return the path of each query's file relative to the folder from which `index` was made.

        A path is None if the file is outside of that folder, or if the path is not UTF-8.
        """
        root = os.path.realpath(index.info.root)
        # Only folders are resolved: a file that is a link has its own name in the index.
        parents = {parent: os.path.realpath(parent) for parent in {file.parent for file in self.files}}
        paths = [os.path.relpath(os.path.join(parents[file.parent], file.name), root) for file in self.files]
        return [None if path.startswith("..") or escaped(path) != path else path for path in paths]


def read_queries(arguments: argparse.Namespace, index: EmbeddingIndex) -> Queries:
    """Return the queries that --query in `arguments` names, in the given order.

    Images are embedded; the rows of another index file have their embeddings there. UserError is raised if a query
    cannot be read, if its embedding is not from the model that made `index`, or if --model is given although no query
    is an image.
    """
    embedder = None
    if any(query.suffix != ".parquet" for query in arguments.query):
        embedder = load_model(arguments, arguments.model or index.info.model)
        _check_model(arguments, embedder, index)
    elif arguments.model is not None:
        raise UserError("--model: the queries are embedded already; leave it out")
    parts = []
    for query in arguments.query:
        with naming(f"--query {query}"):
            if query.suffix == ".parquet":
                parts.append(_rows_of(query, index))
            elif embedder is not None:
                parts.append(_embedded(query, embedder, arguments.batch_size))
    return Queries(
        [name for part in parts for name in part.names],
        [file for part in parts for file in part.files],
        torch.cat([part.embeddings for part in parts]),
    )


def _check_model(arguments: argparse.Namespace, embedder: Embedder, index: EmbeddingIndex) -> None:
    if embedder.identity == index.info.identity:
        return
    if arguments.model is None:
        raise UserError(
            f"--index {arguments.index}: {index.info.model} is not the model any more that made it; embed anew"
        )
    raise UserError(
        f"--model {arguments.model}: {arguments.index} was made by another model, {index.info.model}, and distances "
        "between embeddings of two models mean nothing: leave --model out, or embed the images anew"
    )


def _rows_of(file: Path, index: EmbeddingIndex) -> Queries:
    other = read_index(file)
    if other.info.identity != index.info.identity:
        raise UserError(f"made by {other.info.model}, the index by {index.info.model}; embed both with the same model")
    paths = other.paths.to_pylist()
    root = Path(other.info.root)
    return Queries(paths, [root / path for path in paths], other.embeddings())


def _embedded(query: Path, embedder: Embedder, batch_size: int) -> Queries:
    """Return the query image `query`, or all images below the folder `query`, embedded by `embedder`.

    The network gets `batch_size` images at a time. Images that cannot be decoded are left out and named on stderr.
    UserError is raised if no image can be decoded.
    """
    if query.is_dir():
        paths = list_images(query)
        names: Sequence[str] = [escaped(str(query / path)) for path in paths]
    else:
        paths, names = [str(query)], [escaped(str(query))]
    console = make_console(stderr=True)
    with progress_bars(console) as progress:
        root = query if query.is_dir() else Path()
        told = progress if len(paths) > batch_size else no_progress
        batches = list(embed_images(embedder, root, paths, batch_size, told))
    left_out = [image for batch in batches for image in batch.left_out]
    if len(left_out) == len(paths):
        raise UserError(f"cannot be decoded ({left_out[0].reason}): give another image")
    print_left_out(console, left_out, len(paths))
    kept = [row for batch in batches for row in batch.rows]
    files = [(root / paths[row]).absolute() for row in kept]
    return Queries([names[row] for row in kept], files, torch.cat([batch.embeddings for batch in batches]))
