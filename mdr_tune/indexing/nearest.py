"""Which rows of a block of embeddings are the nearest to each query: by torch, or by FAISS where it is installed."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Literal

import torch

from mdr_tune.errors import UserError
from mdr_tune.metric.ranking import distinct_rows, nearest_items

Backend = Literal["exact", "faiss"]
BackendChoice = Literal["auto", "exact", "faiss"]
Nearest = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
"""From queries (Q, D), a block (B, D) and a depth k <= B to the rows (Q, k) of the nearest, int64."""

FAISS_FROM_ROWS = 100_000
"""From how many rows on FAISS is taken by itself: below, the time goes into reading the file."""


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

    FAISS is given each embedding once: it does not promise in which order it returns copies.
    """
    faiss = importlib.import_module("faiss")

    distinct, which = distinct_rows(block)
    flat = faiss.IndexFlatL2(block.shape[1])
    flat.add(block[distinct].numpy())
    _, found = flat.search(queries.numpy(), min(depth, len(distinct)))
    return _with_copies(torch.from_numpy(found), which.argsort(stable=True), torch.bincount(which), depth)


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
