"""`mdr-tune search --index FILE --query IMAGE ...`: find the images of an index that are nearest to a query."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mdr_tune.cli.flags import add_model_arguments, at_least_1, naming
from mdr_tune.cli.terminal import say
from mdr_tune.report.output.data_files import Rows, csv_text
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import atomic_write

if TYPE_CHECKING:
    from mdr_tune.retrieve import EmbeddingIndex, SearchResult

_DESCRIPTION = """\
Find the images of an index that are nearest to each query, by Euclidean distance between embeddings, exactly. An index
is what `mdr-tune embed` writes. FAISS is used where it is installed and the index is large; what is found is the same.
"""
_MODEL = "what embeds the queries; default: the version that made the index. Another model's distances mean nothing"
_COLUMNS = ("query", "rank", "path", "distance", "label")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `search` to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser("search", help="find the nearest images of an index", description=_DESCRIPTION)
    parser.add_argument("--index", type=Path, required=True, metavar="FILE", help="written by `mdr-tune embed`")
    parser.add_argument(
        "--query",
        type=Path,
        nargs="+",
        required=True,
        metavar="IMAGE",
        help="images; a folder stands for all below it, an index (.parquet) for all of its rows",
    )
    parser.add_argument("--top", type=at_least_1, default=10, metavar="N", help="how many for each query (10)")
    parser.add_argument("--exclude-self", action="store_true", help="leave out the row of the query's own file")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to FILE.csv or FILE.json instead of a table")
    parser.add_argument("--backend", choices=("auto", "exact", "faiss"), default="auto")
    add_model_arguments(parser, required=False, help_text=_MODEL)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Find the images nearest to each query in `arguments`, print them or write them to a file, and return 0."""
    if arguments.out is not None and arguments.out.suffix not in (".csv", ".json"):
        raise UserError(f"--out {arguments.out}: give it a name that ends in .csv or .json")
    missing = [query for query in arguments.query if not query.exists()]
    if missing:
        raise UserError(f"--query {missing[0]}: there is no such file or folder")
    from mdr_tune.cli.search_queries import read_queries
    from mdr_tune.retrieve import read_index, search_index
    from mdr_tune.retrieve.nearest import choose_backend

    with naming("--index"):
        index = read_index(arguments.index)
    with naming("--backend"):
        backend = choose_backend(arguments.backend, len(index))
    queries = read_queries(arguments, index)
    exclude = index.rows_of(queries.paths_in(index)) if arguments.exclude_self else None
    found = search_index(index, queries.embeddings, arguments.top, exclude=exclude, backend=backend)
    if arguments.out is not None:
        _write(arguments.out, _rows(index, queries.names, found))
        shown = f"{len(queries.names):,} queries: {arguments.out}"
        say(console, f"{shown} ({_how(index, found)})")
        return 0
    for number, name in enumerate(queries.names):
        say(console, Text(name, style="bold"))
        console.print(_table(index, found, number))
    say(console, Text(_how(index, found), style="dim"))
    return 0


def _how(index: "EmbeddingIndex", found: "SearchResult") -> str:
    how = {"exact": "exact search, in blocks", "faiss": "exact search by FAISS"}[found.backend]
    return f"{len(index):,} images embedded by {index.info.model}, {how}"


def _hits(index: "EmbeddingIndex", found: "SearchResult", query: int) -> list[tuple[int, str, float, str | None]]:
    """Return rank (from 1), path, distance and label of each image `found` in `index` for a query, the nearest first.

    `query` is the index of the query, from 0. A label is None if the image has no class.
    """
    pairs = zip(found.rows[query].tolist(), found.distances[query].tolist(), strict=True)
    hits = [(row, distance) for row, distance in pairs if row >= 0]
    return [
        (rank, index.paths[row].as_py(), distance, index.labels[row].as_py())
        for rank, (row, distance) in enumerate(hits, 1)
    ]


def _table(index: "EmbeddingIndex", found: "SearchResult", query: int) -> Table:
    table = Table()
    table.add_column("rank", justify="right")
    table.add_column("path", overflow="fold")
    table.add_column("distance", justify="right")
    table.add_column("label", overflow="fold")
    for rank, path, distance, label in _hits(index, found, query):
        table.add_row(str(rank), Text(path), f"{distance:.4g}", Text(label or ""))
    return table


def _rows(index: "EmbeddingIndex", names: list[str], found: "SearchResult") -> Rows:
    return [
        dict(zip(_COLUMNS, (name, *hit), strict=True))
        for query, name in enumerate(names)
        for hit in _hits(index, found, query)
    ]


def _write(file: Path, rows: Rows) -> None:
    text = json.dumps(rows, indent=2) + "\n" if file.suffix == ".json" else csv_text(rows, _COLUMNS)
    try:
        with atomic_write(file) as opened:
            opened.write(text.encode())
    except OSError as error:
        raise UserError(f"--out {file}: cannot be written ({error.strerror}); choose another place") from None
