"""Collect the values that MLflow gets for an epoch: the metrics, the best value so far, and changed parameters."""

import math
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric, RunTag

from mdr_tune.records.metrics import EPOCHS_KEY, TEST_CURVES, is_quality
from mdr_tune.records.objectives import best_epoch_key, best_key
from mdr_tune.records.trial_record import TrialRecord

PERTURBED = ("mdr.weight", "optimizer.learning_rate")
"""Dotted keys of the values that population based training changes."""


def epoch_metrics(record: TrialRecord, index: int, metric: str) -> dict[str, float]:
    """Return the metrics to write to MLflow for one epoch, which is entry `index` of `record.history`.

    They include the best value of `metric` so far, and the number of the epoch in which it was reached.
    """
    entry = record.history[index]
    so_far = [(past[metric], past["epoch"]) for past in record.history[: index + 1] if metric in past]
    finite = [pair for pair in so_far if math.isfinite(pair[0])]
    values: dict[str, float] = {}  # MLflow's pages show metrics in the order in which they were written at first
    if finite:
        values[best_key(metric)], values[best_epoch_key(metric)] = max(finite)
    values |= {key: value for key, value in entry.items() if key == metric or is_quality(key)}
    values |= {key: value for key, value in entry.items() if key != "epoch"}
    values[EPOCHS_KEY] = entry["epoch"]
    return {**values, **values_in_force(record, int(entry["epoch"]))}


def values_in_force(record: TrialRecord, epoch: int) -> dict[str, float]:
    """Return the values of the keys in PERTURBED with which the trial of `record` trained `epoch`.

    Each key of the result is the name of a metric, such as `pbt/mdr.weight`. Keys are left out whose values population
    based training has never changed in this trial.
    """
    found: dict[str, float] = {}
    for key in PERTURBED:
        changes = [change for change in record.changes if key in change.parameters]
        if not changes:
            continue
        before = [change.parameters[key] for change in changes if change.epoch < epoch]
        value = before[-1] if before else record.parameters.get(key, _at(record.config, key))
        if isinstance(value, int | float):
            found[f"pbt/{key}"] = float(value)
    return found


def has_test_curves(record: TrialRecord) -> bool:
    """Say whether the trial of `record` is evaluated on the test classes after each epoch."""
    return bool(record.history) and any(key.startswith(TEST_CURVES) for key in record.history[0])


def entries_of(metrics: Mapping[str, float], step: int, when_ms: int) -> list[Metric | RunTag]:
    """Return an MLflow metric for each finite value in `metrics`, and a tag with the names of all other metrics.

    The metrics belong to `step` and the time `when_ms`. NaN and infinities are not written as metrics, because MLflow's
    databases store NaN as 0 with a flag, and infinities as 1.8e308.
    """
    finite = [Metric(key, value, when_ms, step) for key, value in metrics.items() if math.isfinite(value)]
    broken = sorted(key for key, value in metrics.items() if not math.isfinite(value))
    return [*finite, *([RunTag("non_finite_metrics", ", ".join(broken))] if broken else [])]


def _at(config: dict[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
