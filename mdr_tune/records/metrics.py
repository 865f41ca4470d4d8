"""The table of metrics: everything that a trial measures, and what MLflow gets of a trial besides.

To add a metric: compute it where it belongs (what a worker returns of an epoch is recorded), and add one line to
METRICS. A metric without a line is an error in its first epoch.
"""

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

EPOCHS_KEY = "time/epochs"
"""Under this name a run has the number of its epochs that are done: MLflow lists values without their steps."""
SEEDS_KEY = "val/seeds"
"""Seeds in the mean of a configuration, in the run of its first seed."""
TEST_CURVES = "curves/test_"
"""How the metrics begin that are of the test classes, after each epoch."""


@dataclass(frozen=True)
class Metric:
    """One metric, or a family of metrics.

    Attributes:
        name: Name in MLflow, `GROUP/NAME`. In a family's, `K` stands for a whole number and `*` for any name.
        unit: Unit of its values; empty for a number without one.
        label: What people call it, with a family's `K`; empty: its name without the group.
        measured: Whether the workers measure it in each epoch. Else it is made of what they measured.
        compared: Whether a rerun has to give the same value to the bit. Else it is of the machine, or not measured.
        larger_is_better: Whether the largest value stands first where trials are sorted by it.
    """

    name: str
    unit: str = ""
    label: str = ""
    measured: bool = True
    compared: bool = True
    larger_is_better: bool = False

    @property
    def group(self) -> str:
        """First part of the name: train, val, curves, test, mdr, time, memory, objective, pbt or gain."""
        return self.name.split("/")[0]


def _quality(group: str, prefix: str = "", measured: bool = True) -> Iterator[Metric]:
    """Return the retrieval metrics of one split, in percent. `prefix` comes before their names."""
    for name, label in (("recall_at_K", "Recall@K"), ("map_at_r", "MAP@R"), ("r_precision", "R-precision")):
        yield Metric(f"{group}/{prefix}{name}", "%", label, measured, compared=measured, larger_is_better=True)


def _made(name: str, unit: str = "", label: str = "", larger_is_better: bool = False) -> Metric:
    return Metric(name, unit, label, measured=False, compared=False, larger_is_better=larger_is_better)


METRICS = (
    # Measured in each epoch
    *_quality("val"),
    *_quality("curves", "train_"),
    *_quality("curves", "test_"),
    Metric("train/loss"),
    Metric("train/dml_loss"),
    Metric("train/mdr_loss"),
    Metric("train/miner_fallback"),
    Metric("train/gradient_norm"),
    Metric("train/skipped_steps", "steps"),
    Metric("train/learning_rate"),
    Metric("train/*_learning_rate"),
    Metric("train/distance_mean"),
    Metric("train/distance_std"),
    Metric("mdr/weight"),
    Metric("mdr/mean"),
    Metric("mdr/std"),
    Metric("mdr/level_K"),
    Metric("mdr/held_K"),
    Metric("time/epoch_s", "s", compared=False),
    Metric("time/images_per_s", "images/s", "images/s", compared=False, larger_is_better=True),
    Metric("time/*_at", "s", compared=False),  # moments that a benchmark stamps
    Metric("memory/peak_gib", "GiB", "peak GiB", compared=False),
    # Made of what was measured
    *_quality("val", "best_", measured=False),
    *_quality("val", "mean_best_", measured=False),
    *_quality("curves", "best_test_", measured=False),
    *_quality("curves", "mean_best_test_", measured=False),
    *_quality("test", measured=False),
    *_quality("objective", measured=False),
    *_quality("objective", "test_", measured=False),
    _made("objective/images_per_s", "images/s", "images/s", larger_is_better=True),
    _made("val/best_epoch", larger_is_better=True),
    _made("curves/best_epoch", larger_is_better=True),
    _made(SEEDS_KEY, "seeds", larger_is_better=True),
    _made(EPOCHS_KEY, "epochs"),
    _made("pbt/*"),
    _made("gain/*", "points", larger_is_better=True),
)
_PATTERNS = [
    (re.compile(re.escape(metric.name).replace("K", r"(\d+)").replace(r"\*", ".+")), metric) for metric in METRICS
]


class UnknownMetricError(KeyError):
    """A metric was measured that has no line in METRICS."""

    def __str__(self) -> str:
        return f"unknown metric {self.args[0]!r}: add a line for it to METRICS in mdr_tune/records/metrics.py"


@functools.cache
def find(name: str) -> Metric | None:
    """Return a metric, or the family that it is of; None if it is not known, as of another version's run."""
    return next((metric for pattern, metric in _PATTERNS if pattern.fullmatch(name)), None)


def check_known(names: Iterable[str]) -> None:
    """Raise UnknownMetricError for the first name that is no metric that workers measure."""
    for name in names:
        metric = find(name)
        if metric is None or not metric.measured:
            raise UnknownMetricError(name)


def is_measured(name: str) -> bool:
    """Return whether a metric of a trial's run is of its epochs. One of another version, which is not known, may be."""
    metric = find(name)
    return metric is None or metric.measured


def is_compared(name: str) -> bool:
    """Return whether a rerun has to give the same value of a metric to the bit: all but those of the machine."""
    metric = find(name)
    return metric is None or metric.compared


def larger_is_better(name: str) -> bool:
    """Return whether the largest value of a metric stands first where trials are sorted by it."""
    metric = find(name)
    return metric is not None and metric.larger_is_better


def unit_of(name: str) -> str:
    """Return the unit of a metric's values; empty without one."""
    metric = find(name)
    return metric.unit if metric is not None else ""


def metric_label(name: str) -> str:
    """Return a metric as the field writes it: `val/recall_at_1`, `curves/test_recall_at_1` -> `Recall@1`."""
    metric, rank = find(name), re.search(r"\d+$", name)
    if metric is None or not metric.label:
        return name.split("/")[-1]
    return metric.label.replace("K", rank[0] if rank else "K")
