"""How long a search of an index takes, beside NumPy's whole matrix and scikit-learn's brute force, in one run.

    python benchmarks/folder_search.py
    python benchmarks/folder_search.py --images 20000 --queries 100

Random embeddings of 128 numbers on the unit sphere, 100,000 in the index and 1,000 queries, the 10 nearest of each.

*Ours* is `search_index`, which reads the Parquet file, block by block; the others have all in memory already.
*NumPy* makes all distances in one matrix, |g|^2 - 2 q.g, then `argpartition`. *scikit-learn* is
`NearestNeighbors(algorithm="brute")`. That all find the same is checked. Rounds of the three alternate, after one that
is not timed; a number is the median. Needs neither Ray nor MLflow.

On two cores it takes less than a minute.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from sklearn.neighbors import NearestNeighbors
from summary.machine import machine
from summary.rows import Row, add_rows_option, write_rows

from mdr_tune.cli.terminal import make_console
from mdr_tune.retrieve import IndexInfo, read_index, search_index
from mdr_tune.retrieve.index_file import writing_index

DIMENSIONS, TOP, ROUNDS = 128, 10, 5
OURS = "ours, from the file"
LEAST_AGREEMENT = 0.999
"""Float32 rounding makes the sides differ on a pair that is as near as the last one found."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure the search of an index, beside NumPy and scikit-learn.")
    parser.add_argument("--images", type=int, default=100_000, metavar="N", help="of the index (100000)")
    parser.add_argument("--queries", type=int, default=1000, metavar="N", help="at a time (1000)")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="of torch; NumPy's and scikit-learn's: OMP_NUM_THREADS"
    )
    add_rows_option(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns 1 if less than LEAST_AGREEMENT of what is found is the same."""
    arguments = make_parser().parse_args(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    console = make_console()
    console.print(machine(torch.device("cpu")), style="dim")
    times, agreement = measure(arguments.images, arguments.queries, ROUNDS)
    what = f"{arguments.queries:,} queries, {arguments.images:,} x {DIMENSIONS}, top {TOP}"
    medians = {side: statistics.median(rounds) for side, rounds in times.items()}
    table = Table(title=f"{what} (seconds)", title_justify="left", title_style="bold")
    for column in ("", "median", "rounds", "ratio to ours"):
        table.add_column(column, justify="right" if column else "left")
    for side, rounds in times.items():
        ratio = medians[side] / medians[OURS]
        table.add_row(side, f"{medians[side]:.3f}", ", ".join(f"{value:.2f}" for value in rounds), f"{ratio:.2f}")
    console.print(table)
    shares = ", ".join(f"{side} {share:.4%}" for side, share in agreement.items())
    console.print(f"Of the images that ours finds, found by the others too: {shares}", style="dim")
    if arguments.rows is not None:
        what = f"search of an index: {what}"
        write_rows(arguments.rows, [Row(what, side, "s", medians[OURS], medians[side]) for side in agreement])
    return int(min(agreement.values()) < LEAST_AGREEMENT)


def measure(images: int, queries: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the seconds of each side's rounds, and which share of what ours finds the others find."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(images, DIMENSIONS, generator=generator))
    asked = torch.nn.functional.normalize(torch.randn(queries, DIMENSIONS, generator=generator))
    with tempfile.TemporaryDirectory() as folder:
        index = read_index(write(Path(folder) / "index.parquet", embeddings))
        gallery, given = embeddings.numpy(), asked.numpy()
        fitted = NearestNeighbors(n_neighbors=TOP, algorithm="brute").fit(gallery)
        sides: dict[str, Callable[[], np.ndarray]] = {
            OURS: lambda: search_index(index, asked, TOP, backend="exact").rows.numpy(),
            "NumPy, one matrix": lambda: whole_matrix(gallery, given),
            "scikit-learn, brute": lambda: fitted.kneighbors(given, return_distance=False),
        }
        found = {side: search() for side, search in sides.items()}
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, search in sides.items():
                start = time.perf_counter()
                search()
                times[side].append(time.perf_counter() - start)
    others = [side for side in sides if side != OURS]
    return times, {side: share_found(found[OURS], found[side]) for side in others}


def share_found(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return which share of the images that ours finds, (Q, k), is among theirs of the same query."""
    return float(np.mean([np.isin(mine, other).mean() for mine, other in zip(ours, theirs, strict=True)]))


def whole_matrix(gallery: np.ndarray, queries: np.ndarray) -> np.ndarray:
    distances = (gallery**2).sum(axis=1)[None] - 2 * queries @ gallery.T
    nearest = np.argpartition(distances, TOP, axis=1)[:, :TOP]
    order = np.argsort(np.take_along_axis(distances, nearest, axis=1), axis=1)
    return np.take_along_axis(nearest, order, axis=1)


def write(file: Path, embeddings: torch.Tensor) -> Path:
    info = IndexInfo("models:/random/1", "m-1", None, str(file.parent), (3, 224, 224), 256, "", "")
    with writing_index(file, info, embeddings.shape[1]) as index:
        index.add([f"{row}.jpg" for row in range(len(embeddings))], [None] * len(embeddings), embeddings)
    return file


if __name__ == "__main__":
    sys.exit(main())
