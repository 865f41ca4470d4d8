"""The authors' loop over the queries, `recall` of their utils/common.py, on some of the queries; from their checkout.

Their function takes as many queries as there are items. It is run as it is: what is handed to it only ends its loop
early, and gives it the labels of the queries that it had.
"""

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

Recall = Callable[[torch.Tensor, torch.Tensor, list[int], int], list[float]]
"""From embeddings (N, D), labels (N,), the ranks K and a number of queries, to their Recall@K in percent."""


class _Embeddings:
    """Is iterated over as the first `queries` embeddings, and subtracted from a query as all of them."""

    def __init__(self, embeddings: torch.Tensor, queries: int) -> None:
        self._embeddings, self._queries = embeddings, queries

    def __len__(self) -> int:
        return self._queries

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self._embeddings[: self._queries])

    def __rsub__(self, query: torch.Tensor) -> torch.Tensor:
        return query - self._embeddings


class _Labels:
    """Is indexed as the labels of all items, and compared as those of the first `queries`."""

    def __init__(self, labels: torch.Tensor, queries: int) -> None:
        self._labels, self._queries = labels, queries

    def __len__(self) -> int:
        return self._queries

    def __getitem__(self, items: torch.Tensor) -> torch.Tensor:
        return self._labels[items]

    def unsqueeze(self, dimension: int) -> torch.Tensor:
        return self._labels[: self._queries].unsqueeze(dimension)


def load_recall(checkout: Path) -> Recall:
    """Return their function, with the number of queries as a last argument."""
    sys.path[:0] = [] if str(checkout) in sys.path else [str(checkout)]
    recall = importlib.import_module("utils.common").recall

    def recall_of_first(embeddings: torch.Tensor, labels: torch.Tensor, ks: list[int], queries: int) -> list[float]:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            found: list[float] = recall(_Embeddings(embeddings, queries), _Labels(labels, queries), ks)
        return found

    return recall_of_first
