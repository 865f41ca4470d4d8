"""Names that follow from a sweep's metric, and the Pareto front of two."""

import re
from collections.abc import Sequence
from typing import Literal


def best_key(metric: str) -> str:
    """Return the name under which the best value of a metric over the epochs stands: `val/best_recall_at_1`."""
    group, name = metric.rsplit("/", 1)
    return f"{group}/best_{name}"


def best_epoch_key(metric: str) -> str:
    """Return the name under which the epoch of that best value stands: `val/best_epoch`."""
    return f"{metric.rsplit('/', 1)[0]}/best_epoch"


def chosen_on(metric: str) -> Literal["validation", "test"]:
    """Return on which classes a sweep with this metric chooses: those of the test with the authors' protocol."""
    return "validation" if metric.startswith("val/") else "test"


def recall_rank(metric: str) -> int | None:
    """Return the K of a Recall@K, `val/recall_at_4`; None for another metric."""
    found = re.search(r"recall_at_(\d+)$", metric)
    return int(found[1]) if found else None


def on_front(points: Sequence[tuple[float, float] | None]) -> list[bool]:
    """Say of each point whether no other is at least as high in both values and higher in one: the Pareto front.

    Equal points are on it together. None, a trial without values, is not.
    """
    best_second = float("-inf")
    front: set[tuple[float, float]] = set()
    for point in sorted({point for point in points if point is not None}, reverse=True):
        if point[1] > best_second:  # all that are higher in the first value are lower in the second
            front.add(point)
            best_second = point[1]
    return [point in front for point in points]
