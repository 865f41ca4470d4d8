"""The table of metrics: all that workers measure in a trial, and all that is computed from these for MLflow.

To add a metric, compute it where it belongs and add a line to METRICS. All metrics that a worker returns for an epoch
are recorded; one that METRICS lacks raises an UnknownMetricError after the first epoch.
"""

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

EPOCHS_KEY = "time/epochs"
"""Name of the metric with the number of epochs that a run has done: MLflow's lists show values without epochs."""
SEEDS_KEY = "val/seeds"
"""Name of the metric with the number of seeds in the mean of a configuration. The run of its first seed has it."""
SYSTEM = "system/"
"""Prefix in the names of the metrics of the machine, which MLflow shows on a page of their own."""
TEST_CURVES = "curves/test_"
"""Prefix in the names of the metrics that are measured on the test classes after each epoch."""


QUALITY = {
    "recall_at_K": "Recall@K",
    "map_at_r": "MAP@R",
    "r_precision": "R-precision",
    "map_at_K": "MAP@K",
    "precision_at_K": "precision@K",
    "mrr": "MRR",
    "nmi": "NMI",
    "tar_at_far_*": "TAR at FAR *",
}
"""Names and labels of the metrics of an evaluation that a search may maximise, in percent.

The first three are always measured.
"""


@dataclass(frozen=True)
class Metric:
    """A metric, or a family of metrics that share one line of the table, such as `mdr/level_K`.

    Attributes:
        name: Name in MLflow, `GROUP/NAME`. In the name of a family, `K` stands for a whole number and `*` for any text.
        unit: Unit of the values; empty if they have none.
        label: Name that papers use, such as `Recall@K`. If it is empty, `name` without the group is shown.
        measured: Whether the workers measure the metric in each epoch. Otherwise it is computed from other metrics.
        compared: Whether a rerun of a trial has to give the same value to the bit. This does not hold for metrics that
            depend on the machine, such as times, and for metrics that are not measured.
        larger_is_better: Whether the largest value comes first when trials are sorted by the metric.
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
    """Yield the metrics of an evaluation in `group`, `measured` or computed. Their names begin with `prefix`."""
    for name, label in QUALITY.items():
        compared = measured and name != "nmi"  # its k-means depends on the number of threads
        yield Metric(f"{group}/{prefix}{name}", "%", label, measured, compared, larger_is_better=True)


def _verification(group: str, prefix: str = "", measured: bool = True) -> Iterator[Metric]:
    """Yield the error rates and thresholds of verification, which no search maximises, as `_quality`."""
    yield Metric(f"{group}/{prefix}eer", "%", "EER", measured, measured)
    yield Metric(f"{group}/{prefix}threshold_at_far_*", "", "", measured, measured)


def _made(name: str, unit: str = "", label: str = "", larger_is_better: bool = False) -> Metric:
    return Metric(name, unit, label, measured=False, compared=False, larger_is_better=larger_is_better)


METRICS = (
    # Measured in each epoch
    *_quality("val"),
    *_quality("curves", "train_"),
    *_quality("curves", "test_"),
    *_verification("val"),
    *_verification("curves", "train_"),
    *_verification("curves", "test_"),
    Metric("train/loss"),
    Metric("train/dml_loss"),
    Metric("train/mdr_loss"),
    Metric("train/miner_fallback"),
    Metric("train/gradient_norm"),
    Metric("train/memory_filled", "%"),
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
    # Computed from measured metrics
    *_quality("val", "best_", measured=False),
    *_quality("val", "mean_best_", measured=False),
    *_quality("curves", "best_test_", measured=False),
    *_quality("curves", "mean_best_test_", measured=False),
    *_quality("test", measured=False),
    *_verification("test", measured=False),
    _made("test/tar_at_val_threshold_*", "%", "TAR at val threshold *", larger_is_better=True),
    _made("test/far_at_val_threshold_*", "%", "FAR at val threshold *"),
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
    """Error: a worker measured a metric that METRICS does not list as measured."""

    def __str__(self) -> str:
        return f"unknown metric {self.args[0]!r}: add a line for it to METRICS in mdr_tune/records/metrics.py"


@functools.cache
def find(name: str) -> Metric | None:
    """Return the line of METRICS for the metric `name` or for its family; None if there is no such line."""
    return next((metric for pattern, metric in _PATTERNS if pattern.fullmatch(name)), None)


def check_known(names: Iterable[str]) -> None:
    """Raise UnknownMetricError for the first of `names` that METRICS does not list as measured by workers."""
    for name in names:
        metric = find(name)
        if metric is None or not metric.measured:
            raise UnknownMetricError(name)


def is_measured(name: str) -> bool:
    """Return whether workers measure the metric `name` in each epoch. True for an unknown name."""
    metric = find(name)
    return metric is None or metric.measured


def is_compared(name: str) -> bool:
    """Return whether a rerun has to give the same value of the metric `name` to the bit. True for an unknown name."""
    metric = find(name)
    return metric is None or metric.compared


def larger_is_better(name: str) -> bool:
    """Return whether the largest value of the metric `name` comes first in a sorted list. False for an unknown name."""
    metric = find(name)
    return metric is not None and metric.larger_is_better


def is_quality(name: str) -> bool:
    """Return whether the metric `name` says how well images are retrieved: Recall@K, MAP@R or R-precision."""
    metric = find(name)
    return metric is not None and metric.label in ("Recall@K", "MAP@R", "R-precision")


def is_of_system(name: str) -> bool:
    """Return whether the metric `name` is one of the machine, such as `system/cpu_utilization_percentage`."""
    return name.startswith(SYSTEM)


def unit_of(name: str) -> str:
    """Return the unit of the metric `name`. It is empty if the values have no unit, or if the name is unknown."""
    metric = find(name)
    return metric.unit if metric is not None else ""


def metric_label(name: str) -> str:
    """Return the metric `name` as papers write it: `Recall@1` for `val/recall_at_1` and `curves/test_recall_at_1`."""
    metric, rank = find(name), re.search(r"\d+$", name)
    if metric is None or not metric.label:
        return name.split("/")[-1]
    if metric.label.endswith("*"):
        return metric.label.replace("*", name.removeprefix(metric.name.removesuffix("*")))
    return metric.label.replace("K", rank[0] if rank else "K")
