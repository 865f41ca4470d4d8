"""What ours is compared to: a loop over the queries, as the authors evaluate, and the least that any way must do."""

import torch
from torch import Tensor

ROWS = 1024
"""Queries of a block of `product_and_topk`."""


def recall_by_loop(embeddings: Tensor, labels: Tensor, ks: tuple[int, ...], queries: int) -> list[float]:
    """Return Recall@K in percent of the first `queries` items among all, one query at a time."""
    hits = torch.zeros(len(ks))
    for number in range(queries):
        squares = (embeddings[number] - embeddings).square().sum(dim=1)
        squares[number] = torch.inf
        nearest = squares.topk(max(ks), largest=False).indices
        is_same = labels[nearest] == labels[number]
        hits += torch.stack([is_same[:k].any() for k in ks]).float().cpu()
    return (100 * hits / queries).tolist()


def product_and_topk(embeddings: Tensor, depth: int) -> Tensor:
    """Return the `depth` largest products of each embedding with all, (N, depth): no ties, no labels, no metrics."""
    return torch.cat([(block @ embeddings.t()).topk(depth, dim=1).values for block in embeddings.split(ROWS)])
