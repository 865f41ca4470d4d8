"""Find the rows of a block of embeddings that are nearest to each query, by torch, or by FAISS if it is installed."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Literal

import torch

from mdr_tune.metric.near_ties import distances_of_pairs, product_rounding
from mdr_tune.metric.ranking import distinct_rows, nearest_items
from mdr_tune.util.errors import UserError

Backend = Literal["exact", "faiss"]
BackendChoice = Literal["auto", "exact", "faiss"]
Nearest = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
"""Function from queries (Q, D), a block (B, D) and a depth k <= B to the k nearest rows of each query, (Q, k) int64.

Among equally near rows, those that come first in the block are chosen first. The k rows may be in any order.
"""

FAISS_FROM_ROWS = 100_000
"""Least number of rows for which `auto` chooses FAISS. With fewer, reading the index file takes most of the time."""

_SPARE = 8
"""Number of additional embeddings that FAISS is asked for. Embeddings that FAISS does not return are at least as far as
the farthest one that it returns."""


def choose_backend(choice: BackendChoice, rows: int) -> Backend:
    """Return the backend for the search of an index of `rows` rows, by the user's `choice`. Both backends are exact.

    Raises:
        UserError: `choice` is `faiss`, and FAISS is not installed.
    """
    installed = importlib.util.find_spec("faiss") is not None
    if choice == "faiss" and not installed:
        raise UserError("FAISS is not installed: `pip install faiss-cpu`, or choose exact")
    if choice == "auto":
        return "faiss" if installed and rows >= FAISS_FROM_ROWS else "exact"
    return choice


def nearest_by_torch(queries: torch.Tensor, block: torch.Tensor, depth: int) -> torch.Tensor:
    """Return the `depth` rows of `block` nearest to each of `queries` by torch's matrix products. See `Nearest`."""
    everything = slice(0, len(queries))
    return torch.cat([rows for _, rows in nearest_items(queries, block, depth, everything, excludes_self=False)])


def nearest_by_faiss(queries: torch.Tensor, block: torch.Tensor, depth: int) -> torch.Tensor:
    """Return the `depth` rows of `block` nearest to each of `queries` by FAISS' flat index. See `Nearest`.

    FAISS gets each distinct embedding once, since it does not promise an order of equal embeddings. If the rounding
    errors of FAISS leave open which rows are the nearest to a query, torch searches for this query instead.
    """
    faiss = importlib.import_module("faiss")

    distinct, which = distinct_rows(block)
    different = block[distinct]
    centre = different.mean(dim=0)  # products of smaller numbers lose less by rounding
    centred, centred_queries = different - centre, queries - centre
    flat = faiss.IndexFlatL2(block.shape[1])
    flat.add(centred.numpy())
    by_faiss, found = map(torch.from_numpy, flat.search(centred_queries.numpy(), min(depth + _SPARE, len(distinct))))
    found, order = found.sort(dim=1)
    by_faiss = by_faiss.gather(1, order)
    rows = torch.arange(len(found)).repeat_interleave(found.shape[1])
    distances, order = distances_of_pairs(queries, different, rows, found.flatten()).view(found.shape).sort(stable=True)

    query_norms = torch.linalg.vector_norm(centred_queries, dim=1)
    rounding = product_rounding(query_norms, block.shape[1])
    enough = min(depth, len(distinct))
    farthest = by_faiss.amax(dim=1) - query_norms.square()
    least = farthest - rounding.absolute.squeeze(1) - rounding.relative * farthest + query_norms.square()
    is_open = distances[:, enough - 1] >= least  # an embedding that FAISS did not find may be as near
    is_open &= found.shape[1] < len(distinct)
    if len(distinct) < len(block):
        is_open |= (distances.diff(dim=1) == 0).any(dim=1)  # the rows of equally near embeddings alternate
    nearest = _with_copies(found.gather(1, order), which.argsort(stable=True), torch.bincount(which), depth)
    if bool(is_open.any()):
        nearest[is_open] = nearest_by_torch(queries[is_open], block, depth)
    return nearest


def _with_copies(found: torch.Tensor, rows: torch.Tensor, sizes: torch.Tensor, depth: int) -> torch.Tensor:
    """Return the `depth` nearest rows of each query, (Q, depth) int64, from its nearest distinct embeddings.

    Each distinct embedding stands for all rows that have this embedding.

    Args:
        found: (Q, k), indices of the distinct embeddings nearest to each query, the nearest first. They stand for at
            least `depth` rows in total.
        rows: (B,), indices of the rows of the first distinct embedding, ascending, then of the second, and so on.
        sizes: (U,), number of rows of each distinct embedding.
        depth: Number of rows to return for each query.
    """
    starts = sizes.cumsum(0) - sizes
    ends = sizes[found].cumsum(1)  # (Q, k): number of places that the embeddings up to each take
    places = torch.arange(depth).expand(len(found), -1).contiguous()
    which = torch.searchsorted(ends, places, right=True)
    taken_before = (ends - sizes[found]).gather(1, which)
    return rows[starts[found.gather(1, which)] + places - taken_before]


NEAREST: dict[Backend, Nearest] = {"exact": nearest_by_torch, "faiss": nearest_by_faiss}
