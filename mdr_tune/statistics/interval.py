"""The mean of a few values, with its 95 % interval by Student's t."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
ROUNDING = 1e-9
"""Values count as equal if their standard deviation is at most this share of `scale`, the argument of `spread`."""


@dataclass(frozen=True)
class Interval:
    """Mean of `n` values, with the ends of its 95 % interval; `low` and `high` are None if there is no interval."""

    mean: float
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Return the mean of `values`, (n,), and its 95 % interval by Student's t: mean -+ t(0.975, n - 1) s / sqrt(n).

    Here s is the unbiased standard deviation, and t(p, m) the p-quantile of Student's t with m degrees of freedom.

    The interval holds for values that are independent and about normally distributed; this is assumed of results of
    different training seeds. A single value has no interval. Equal values have none either: the formula would give an
    interval of width 0, as if the mean were certain. Raise ValueError if there is no value, or one that is not finite.

    Source: Student, "The Probable Error of a Mean", Biometrika 1908.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"a mean needs one or more finite values, got {array.tolist()}")
    mean, n = float(array.mean()), len(array)
    deviation = spread(array, float(np.abs(array).max()))
    if deviation is None:
        return Interval(mean, None, None, n)
    half = smallest_separated(deviation, n)
    return Interval(mean, mean - half, mean + half, n)


def spread(values: np.ndarray, scale: float) -> float | None:
    """Return the unbiased standard deviation of `values`, (n,); None if n < 2 or if they differ by rounding alone.

    `scale` is the magnitude of the numbers that the values were computed from. The rounding error depends on it.
    """
    if len(values) < 2:
        return None
    deviation = float(values.std(ddof=1))
    return deviation if deviation > ROUNDING * scale else None


def smallest_separated(deviation: float, n: int) -> float:
    """Return the smallest significant |mean| of `n` >= 2 values whose standard deviation is `deviation`.

    A mean is significant if it differs from 0 in the two-sided t-test at p = 0.05. The result is also half the width of
    the values' 95 % interval.
    """
    from scipy import stats  # takes a good part of a second to import

    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * deviation / math.sqrt(n)
