"""What an evaluation on the test classes found, query by query: what the report's intervals and figures need."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class ShownImage:
    """A small picture in a gallery of neighbours.

    Attributes:
        label: Class id.
        pixels: (C, H, W) uint8, grey or RGB.
    """

    label: int
    pixels: np.ndarray


@dataclass(frozen=True)
class ShownQuery:
    """One of the best or the worst queries, with the images that are nearest to it.

    Attributes:
        kind: Of which it is.
        index: Of the query in the test split.
        score: Its average precision at R, 0 to 1.
        image: The query.
        neighbours: The nearest first.
    """

    kind: Literal["best", "worst"]
    index: int
    score: float
    image: ShownImage
    neighbours: list[ShownImage]


@dataclass(frozen=True)
class TestDetails:
    """One evaluation of one trial. n queries of C classes, embeddings of D dimensions.

    Attributes:
        labels: (n,) int64, the class of each query.
        first_hit: (n,) int64, the rank of the first image of its class, from 1; 0 if there is none among the nearest
            that were looked at, which are at least as many as the largest K of Recall@K.
        average_precision: (n,) float64, at R, 0 to 1; NaN for a query without anything to retrieve.
        r_precision: (n,) float64, as well.
        centre_labels: (C,) int64, ascending.
        centres: (C, D) float32, the mean embedding of each class, as retrieval compares them.
        shown: The best and the worst queries.
    """

    __test__ = False  # for pytest: not a test

    labels: np.ndarray
    first_hit: np.ndarray
    average_precision: np.ndarray
    r_precision: np.ndarray
    centre_labels: np.ndarray
    centres: np.ndarray
    shown: list[ShownQuery] = field(default_factory=list)

    def hits(self, k: int) -> np.ndarray:
        """Return for each query whether an image of its class is among the k nearest: Recall@K is the mean; (n,)."""
        return (self.first_hit > 0) & (self.first_hit <= k)

    def per_query(self, metric: str) -> np.ndarray:
        """Return what each query contributes to a metric, in percent: the metric is the mean, NaN left out; (n,).

        Args:
            metric: `recall_at_4`, `map_at_r` or `r_precision`.

        Raises:
            ValueError: It is none of them.
        """
        if metric.startswith("recall_at_"):
            return 100.0 * self.hits(int(metric.removeprefix("recall_at_")))
        if metric in ("map_at_r", "r_precision"):
            return 100.0 * (self.average_precision if metric == "map_at_r" else self.r_precision)
        raise ValueError(f"no value of a query for {metric!r}; there are recall_at_K, map_at_r and r_precision")
