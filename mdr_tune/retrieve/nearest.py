"""Which rows of a block of embeddings are the nearest to each query: by torch, or by FAISS where it is installed."""

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
"""From queries (Q, D), a block (B, D) and a depth k <= B to the rows (Q, k) of the nearest, int64; of equally near rows
the first. In which order they are is open."""

FAISS_FROM_ROWS = 100_000
"""From how many rows on FAISS is taken by itself: below, the time goes into reading the file."""

_SPARE = 8
"""Embeddings that FAISS is asked for beyond those wanted. The last of them tells how near all others may be at most."""


def choose_backend(choice: BackendChoice, rows: int) -> Backend:
    """Return what searches an index of so many rows. Both are exact.

    Raises:
        UserError: FAISS is asked for and not installed.
    """
    installed = importlib.util.find_spec("faiss") is not None
    if choice == "faiss" and not installed:
        raise UserError("FAISS is not installed: `pip install faiss-cpu`, or choose exact")
    if choice == "auto":
        return "faiss" if installed and rows >= FAISS_FROM_ROWS else "exact"
    return choice


def nearest_by_torch(queries: torch.Tensor, block: torch.Tensor, depth: int) -> torch.Tensor:
    """Return the nearest rows by matrix products, some queries at a time; see `Nearest`."""
    everything = slice(0, len(queries))
    return torch.cat([rows for _, rows in nearest_items(queries, block, depth, everything, excludes_self=False)])


def nearest_by_faiss(queries: torch.Tensor, block: torch.Tensor, depth: int) -> torch.Tensor:
    """Return the nearest rows by FAISS' flat index; see `Nearest`.

    FAISS is given each embedding once: it does not promise in which order it returns copies. Its distances are as
    rounded as those of any product. Queries for which they leave open what is nearest go to torch.
    """
    faiss = importlib.import_module("faiss")

    distinct, which = distinct_rows(block)
    different = block[distinct]
    centre = different.mean(dim=0)  # a product loses less the nearer to the origin its factors are
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
    is_open = distances[:, enough - 1] >= least  # an embedding that was not found may be as near
    is_open &= found.shape[1] < len(distinct)
    if len(distinct) < len(block):
        is_open |= (distances.diff(dim=1) == 0).any(dim=1)  # rows of several embeddings take turns
    nearest = _with_copies(found.gather(1, order), which.argsort(stable=True), torch.bincount(which), depth)
    if bool(is_open.any()):
        nearest[is_open] = nearest_by_torch(queries[is_open], block, depth)
    return nearest


def _with_copies(found: torch.Tensor, rows: torch.Tensor, sizes: torch.Tensor, depth: int) -> torch.Tensor:
    """Return the rows of a ranking of distinct embeddings, where all rows of an embedding follow each other.

    Args:
        found: (Q, k), indices of distinct embeddings, nearest first, which have at least `depth` rows together.
        rows: (B,), the rows of the first embedding, ascending, then those of the second, and so on.
        sizes: number of rows of each distinct embedding.
        depth: how many rows are returned.

    Returns:
        (Q, depth) int64.
    """
    starts = sizes.cumsum(0) - sizes
    ends = sizes[found].cumsum(1)  # (Q, k): places taken by the nearest embeddings up to each
    places = torch.arange(depth).expand(len(found), -1).contiguous()
    which = torch.searchsorted(ends, places, right=True)
    taken_before = (ends - sizes[found]).gather(1, which)
    return rows[starts[found.gather(1, which)] + places - taken_before]


NEAREST: dict[Backend, Nearest] = {"exact": nearest_by_torch, "faiss": nearest_by_faiss}
