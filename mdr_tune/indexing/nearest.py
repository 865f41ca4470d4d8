"""Which rows of a block of embeddings are the nearest to each query: by torch, or by FAISS where it is installed."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Literal

import torch

from mdr_tune.errors import UserError
from mdr_tune.metric.ranking import nearest_items

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
    """Return the nearest rows by FAISS' flat index, which compares each query with each row; see `Nearest`."""
    faiss = importlib.import_module("faiss")

    flat = faiss.IndexFlatL2(block.shape[1])
    flat.add(block.numpy())
    _, rows = flat.search(queries.numpy(), depth)
    return torch.from_numpy(rows)


NEAREST: dict[Backend, Nearest] = {"exact": nearest_by_torch, "faiss": nearest_by_faiss}
