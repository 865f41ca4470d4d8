"""Names of metrics that belong to a sweep's metric, and the Pareto front of two objectives."""

import re
from collections.abc import Sequence
from typing import Literal


def best_key(metric: str) -> str:
    """Return the name of the metric that holds the best value of `metric` over the epochs: `val/best_recall_at_1`."""
    group, name = metric.rsplit("/", 1)
    return f"{group}/best_{name}"


def best_epoch_key(metric: str) -> str:
    """Return the name of the metric that holds the epoch of the best value of `metric`: `val/best_epoch`."""
    return f"{metric.rsplit('/', 1)[0]}/best_epoch"


def chosen_on(metric: str) -> Literal["validation", "test"]:
    """Return the classes on which a sweep that maximises `metric` chooses its best epochs and trials.

    They are the test classes under the authors' protocol, and the validation classes otherwise.
    """
    return "validation" if metric.startswith("val/") else "test"


def rank_of(metric: str) -> int | None:
    """Return the K of a metric at K: 4 for `val/recall_at_4` and `map_at_4`. Return None for other metrics."""
    found = re.search(r"(?:recall|map|precision)_at_(\d+)$", metric)
    return int(found[1]) if found else None


def recall_rank(metric: str) -> int | None:
    """Return the K of the Recall@K metric `metric`: 4 for `val/recall_at_4`. Return None for other metrics."""
    found = re.search(r"recall_at_(\d+)$", metric)
    return int(found[1]) if found else None


def on_front(points: Sequence[tuple[float, float] | None]) -> list[bool]:
    """Return, for each of `points`, whether it is on the Pareto front of two values that are both maximised.

    A point is on the front if no other point is at least as high in both values and higher in one of them. Equal points
    are on the front together. None stands for a trial without values, and is not on the front.
    """
    best_second = float("-inf")
    front: set[tuple[float, float]] = set()
    for point in sorted({point for point in points if point is not None}, reverse=True):
        if point[1] > best_second:  # points that are higher in the first value are lower in the second
            front.add(point)
            best_second = point[1]
    return [point in front for point in points]
