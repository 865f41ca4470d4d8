"""Find the images of an index that are nearest to each query by Euclidean distance, one block of the file at a time."""

from dataclasses import dataclass

import torch

from mdr_tune.metric.near_ties import distances_of_pairs
from mdr_tune.metric.ranking import can_be_ranked
from mdr_tune.retrieve.index_file import EmbeddingIndex
from mdr_tune.retrieve.nearest import NEAREST, Backend, BackendChoice, choose_backend


@dataclass(frozen=True)
class SearchResult:
    """The k rows of an index that are nearest to each of Q queries, the nearest first, as found by `backend`.

    `rows` are the indices of rows, (Q, k) int64; the last entries are -1 if a query has fewer than k rows to find.
    `distances` are Euclidean, (Q, k) float32, and infinity for entries of -1.
    """

    rows: torch.Tensor
    distances: torch.Tensor
    backend: Backend


@torch.no_grad()
def search_index(
    index: EmbeddingIndex,
    queries: torch.Tensor,
    top: int = 10,
    *,
    exclude: torch.Tensor | None = None,
    backend: BackendChoice = "auto",
    block_rows: int | None = None,
) -> SearchResult:
    """Return the `top` nearest rows of `index` to each of `queries`. The search is exact.

    Of rows at equal distances, the first counts as the nearer. The file is read once, in blocks. The order and the
    returned distances are computed from differences of embeddings in float64, so that an image finds itself at distance
    0. Matrix products, whose rounding errors are larger, only choose the rows for which this is done.

    Args:
        index: Index of N embeddings of D numbers.
        queries: (Q, D), finite, on the CPU.
        top: Number of rows to find, at least 1; k is `top`, or N if that is less.
        exclude: (Q,) int64, for each query the index of a row that it must not find, such as its own; -1 for none.
        backend: `faiss`, `exact` (torch), or `auto`: FAISS if it is installed and the index is large.
        block_rows: Number of rows in a block; None stands for blocks of 64 MiB.

    Raises:
        ValueError: Shapes do not fit, a query is not finite or too large, or `top` is less than 1.
        UserError: FAISS is asked for and not installed, or the index cannot be read any more or has a broken embedding.
    """
    _check(index, queries, top, exclude)
    chosen = choose_backend(backend, len(index))
    queries = queries.float().contiguous()
    best = torch.empty(len(queries), 0, dtype=torch.float64)
    best_rows = torch.empty(len(queries), 0, dtype=torch.int64)
    for start, block in index.blocks(block_rows):
        depth = min(top + (exclude is not None), len(block))
        rows = NEAREST[chosen](queries, block, depth)
        pairs = torch.arange(len(rows)).repeat_interleave(depth), rows.flatten()
        squares = distances_of_pairs(queries, block, *pairs).view(rows.shape)  # different squares may have equal roots
        rows = rows + start
        if exclude is not None:
            excluded = rows == exclude[:, None]
            squares[excluded] = torch.inf
            rows[excluded] = -1
        best, best_rows = _nearest(torch.cat([best, squares], dim=1), torch.cat([best_rows, rows], dim=1), top)
    return SearchResult(best_rows, best.sqrt().float(), chosen)


def _nearest(squares: torch.Tensor, rows: torch.Tensor, top: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `top` smallest of `squares` for each query, ascending, and the entries of `rows` at the same places.

    `squares` and `rows` are (Q, n): squared distances of queries to rows, and the rows' indices. Equal distances are
    ordered by row. Both results are (Q, top), or (Q, n) if n is less.
    """
    rows, places = rows.sort(dim=1)
    squares, order = squares.gather(1, places).sort(dim=1, stable=True)
    return squares[:, :top], rows.gather(1, order)[:, :top]


def _check(index: EmbeddingIndex, queries: torch.Tensor, top: int, exclude: torch.Tensor | None) -> None:
    if queries.ndim != 2 or len(queries) == 0 or queries.shape[1] != index.size:
        raise ValueError(f"queries must be (Q, {index.size}) with at least one row, got {tuple(queries.shape)}")
    if not can_be_ranked(queries.float()):
        raise ValueError("queries must be finite, and their squares as well")
    if top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    if exclude is not None and exclude.shape != (len(queries),):
        raise ValueError(f"exclude must be ({len(queries)},), got {tuple(exclude.shape)}")
