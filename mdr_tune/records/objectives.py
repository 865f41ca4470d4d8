"""What trials are worth beside each other: the mean over the seeds of a configuration, and the Pareto front."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from mdr_tune.records.trial_record import TrialRecord


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


def mean_over_seeds(records: Iterable[TrialRecord], metric: str) -> tuple[float, int] | None:
    """Return the mean best value over the seeds that ran to their end, and how many those are; None if none did.

    Args:
        records: The seeds of one configuration.
    """
    bests = [record.best(metric) for record in records if record.outcome == "completed"]
    values = [best[0] for best in bests if best is not None]
    return (sum(values) / len(values), len(values)) if values else None


def by_configuration(records: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Return the trials of each configuration by its name, in the order in which they started."""
    groups: dict[str, list[TrialRecord]] = {}
    for record in records:
        groups.setdefault(record.config_name, []).append(record)
    return groups
