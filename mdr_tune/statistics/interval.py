"""The mean of a few values, and how far it may be off."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
ROUNDING = 1e-9
"""Values whose deviation is below this share of the largest are equal but for rounding."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: Of the values.
        low: Lower end; None where there is no interval.
        high: Upper end.
        n: Values in the mean.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Return the mean and its 95 % interval by Student's t: mean -+ t(0.975, n - 1) s / sqrt(n).

    It holds for values that are independent and about normally distributed; training seeds are taken to be so. One
    value has no interval. Equal values have none either: the formula's is of width 0, as if nothing could be off.

    Args:
        values: (n,), in any unit.

    Raises:
        ValueError: There is no value, or one that is not finite.

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
    """Return the unbiased standard deviation; None of fewer than two values, or where they are equal but for rounding.

    Args:
        values: (n,).
        scale: Size of the numbers that the values were computed from.
    """
    if len(values) < 2:
        return None
    deviation = float(values.std(ddof=1))
    return deviation if deviation > ROUNDING * scale else None


def smallest_separated(deviation: float, n: int) -> float:
    """Return the smallest absolute mean of n values that a two-sided t-test sets apart from 0 at p = 0.05.

    It is half the width of their 95 % interval.

    Args:
        deviation: Their standard deviation.
        n: At least 2.
    """
    from scipy import stats  # takes a good part of a second to import

    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * deviation / math.sqrt(n)
