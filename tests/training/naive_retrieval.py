"""Retrieval of the splits of evaluate_rank.py in plain integers, query by query."""

import math
from typing import Any, NamedTuple

from mdr_tune.data import ImageSplit
from tests.training.evaluate_rank import RECALL_KS


class NaiveQuery(NamedTuple):
    """One query: what it can retrieve, the nearest first, whether that is of its class, and how much of it is."""

    others: list[int]
    hits: list[bool]
    relevant: int

    @property
    def average_precision(self) -> float:
        if not self.relevant:
            return math.nan
        hits = self.hits[: self.relevant]
        return sum(sum(hits[:r]) / r for r, hit in enumerate(hits, 1) if hit) / self.relevant

    @property
    def r_precision(self) -> float:
        return sum(self.hits[: self.relevant]) / self.relevant if self.relevant else math.nan

    def first_hit(self, depth: int) -> int:
        """Return the rank of the first hit among the `depth` nearest, from 1; 0 if there is none."""
        hits = self.hits[:depth]
        return hits.index(True) + 1 if any(hits) else 0


def embeddings_of(split: ImageSplit) -> list[tuple[int, ...]]:
    """Return the four pixels at the middle of 5 x 5; torchvision's CenterCrop rounds the margin of 1.5 to 2."""
    return [tuple(image.flatten().tolist()) for image in split.images.images[:, 0, 2:4, 2:4]]


def naive_queries(split: ImageSplit) -> list[NaiveQuery]:
    """Rank for each query, equal distances by index."""
    queries, labels = embeddings_of(split), split.labels.tolist()
    gallery = queries if split.gallery is None else embeddings_of(split.gallery)
    gallery_labels = labels if split.gallery is None else split.gallery.labels.tolist()
    found = []
    for i, query in enumerate(queries):
        others = [j for j in range(len(gallery)) if split.gallery is not None or j != i]
        others.sort(key=lambda j: (sum((a - b) ** 2 for a, b in zip(query, gallery[j], strict=True)), j))
        hits = [gallery_labels[j] == labels[i] for j in others]
        found.append(NaiveQuery(others, hits, sum(hits)))
    return found


def naive_ks(queries: list[NaiveQuery]) -> list[int]:
    """Return the Ks that can be had."""
    return [k for k in (1, *RECALL_KS) if k <= len(queries[0].others)]


def naive_metrics(split: ImageSplit) -> dict[str, float]:
    """Return the metrics in percent, queries without anything to retrieve left out of the precisions."""
    queries = naive_queries(split)
    recalls = {f"recall_at_{k}": percent([any(query.hits[:k]) for query in queries]) for k in naive_ks(queries)}
    with_relevant = [query for query in queries if query.relevant]
    average_precision = percent([query.average_precision for query in with_relevant])
    r_precision = percent([query.r_precision for query in with_relevant])
    return {**recalls, "map_at_r": average_precision, "r_precision": r_precision}


def percent(values: list[Any]) -> float:
    return 100 * sum(values) / len(values) if values else math.nan
