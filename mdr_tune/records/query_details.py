"""Results for each query of an evaluation on the test classes. The report makes intervals and figures of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class ShownImage:
    """A small picture that the report shows, of the class `label`. `pixels` is (C, H, W) uint8, grey or RGB."""

    label: int
    pixels: np.ndarray


@dataclass(frozen=True)
class ShownQuery:
    """One of the best or the worst queries. `neighbours` are its nearest images, the nearest first.

    `index` is the query's index in the test split. `score` is its average precision at R, from 0 to 1, where R is the
    number of images of its class that can be retrieved.
    """

    kind: Literal["best", "worst"]
    index: int
    score: float
    image: ShownImage
    neighbours: list[ShownImage]


@dataclass(frozen=True)
class TestDetails:
    """Results of one evaluation of one trial on the test classes.

    There are n queries of C classes, and the embeddings have D dimensions. R is the number of images of a query's class
    that can be retrieved.

    Attributes:
        labels: (n,) int64, class of each query.
        first_hit: (n,) int64, rank of the nearest image of the query's class, from 1. It is 0 if none of the ranked
            images is of this class. At least as many images are ranked as the largest K of Recall@K.
        average_precision: (n,) float64, average precision at R, from 0 to 1; NaN for a query whose R is 0.
        r_precision: (n,) float64, share of the R nearest images that are of the query's class; NaN if R is 0.
        centre_labels: (C,) int64, class of each centre, ascending.
        centres: (C, D) float32, mean embedding of each class, in the scaling that retrieval uses.
        shown: Best and worst queries, with their neighbours.
        further: (n,) float64 for each further metric of `metric.retrieval` that was chosen, such as `map_at_10`: its
            value of each query, from 0 to 1; NaN for a query that does not count.
    """

    __test__ = False  # for pytest: not a test

    labels: np.ndarray
    first_hit: np.ndarray
    average_precision: np.ndarray
    r_precision: np.ndarray
    centre_labels: np.ndarray
    centres: np.ndarray
    shown: list[ShownQuery] = field(default_factory=list)
    further: Mapping[str, np.ndarray] = field(default_factory=dict)

    def hits(self, k: int) -> np.ndarray:
        """Return whether one of the `k` nearest images has the query's class, (n,) bool. The mean is Recall@K."""
        return (self.first_hit > 0) & (self.first_hit <= k)

    def per_query(self, metric: str) -> np.ndarray:
        """Return the value of `metric` for each query, (n,), in percent. Their mean without NaN is the metric itself.

        `metric` is `map_at_r`, `r_precision`, `recall_at_K` such as `recall_at_4`, or a name in `further`. Any other
        name is a ValueError.
        """
        if metric.startswith("recall_at_"):
            return 100.0 * self.hits(int(metric.removeprefix("recall_at_")))
        if metric in ("map_at_r", "r_precision"):
            return 100.0 * (self.average_precision if metric == "map_at_r" else self.r_precision)
        if metric in self.further:
            return 100.0 * self.further[metric]
        raise ValueError(f"no value of a query for {metric!r}")

    def has(self, metric: str) -> bool:
        """Return whether `metric` is a mean over queries that `per_query` has: not NMI, for example."""
        return metric.startswith("recall_at_") or metric in ("map_at_r", "r_precision", *self.further)
