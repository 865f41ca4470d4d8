"""A metric over the epochs for the seeds of one row: the values of each seed, their mean, and its interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.report.rows import RunKey
from mdr_tune.statistics import mean_interval, mean_over_folds


@dataclass(frozen=True)
class Series:
    """Values of a metric at the E epochs at which all seeds have a finite value.

    Attributes:
        epochs: (E,) int64, epochs, ascending.
        by_seed: (E,), values of each seed, by training seed.
        mean: (E,), mean over the seeds.
        low: (E,), lower end of the 95 % t-interval; NaN at epochs where all seeds are equal. None if there is one seed.
        high: (E,), upper end, NaN or None in the same cases as `low`.
    """

    epochs: np.ndarray
    by_seed: dict[RunKey, np.ndarray]
    mean: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None


def series(records: Mapping[RunKey, TrialRecord], key: str, folds: int | None = None) -> Series | None:
    """Return the values of the metric `key` over the epochs. `records` has the record of each seed's trial, by seed.

    With `folds` records are by (fold, seed), and intervals are over the folds, see `mean_over_folds`.

    Seeds without the metric are left out. None if no seed has the metric, or if the other seeds share no epoch.
    """
    values = {
        seed: {int(epoch["epoch"]): epoch[key] for epoch in record.history if math.isfinite(epoch.get(key, math.nan))}
        for seed, record in records.items()
    }
    values = {seed: found for seed, found in values.items() if found}
    epochs = sorted(set.intersection(*map(set, values.values()))) if values else []
    if not epochs:
        return None
    by_seed = {seed: np.array([found[epoch] for epoch in epochs]) for seed, found in values.items()}
    table = np.array(list(by_seed.values()))
    if len(table) < 2:
        return Series(np.array(epochs), by_seed, table.mean(axis=0), None, None)
    keys: Any = list(by_seed)
    intervals = [
        mean_interval(column) if folds is None else mean_over_folds(dict(zip(keys, column, strict=True)), folds)
        for column in table.T
    ]
    low = np.array([interval.low for interval in intervals], dtype=float)
    high = np.array([interval.high for interval in intervals], dtype=float)
    return Series(np.array(epochs), by_seed, table.mean(axis=0), low, high)


def numbered(records: Mapping[RunKey, TrialRecord], prefix: str) -> list[str]:
    """Return the metrics in `records` that are named `prefix` and a number, in order: `mdr/level_0`, `mdr/level_1`."""
    keys = {key for record in records.values() for epoch in record.history for key in epoch if key.startswith(prefix)}
    numbers = sorted(int(key.removeprefix(prefix)) for key in keys if key.removeprefix(prefix).isdigit())
    return [f"{prefix}{number}" for number in numbers]
