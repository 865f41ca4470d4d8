"""The difference between two sets of runs, paired by training seed; Holm's correction of several p-values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from mdr_tune.statistics.interval import Interval, mean_interval, spread

K = TypeVar("K")


@dataclass(frozen=True)
class PairedDifference(Interval, Generic[K]):
    """Mean difference of the pairs, with its interval and its test.

    Attributes:
        p: p-value of the two-sided paired t-test; None if the test cannot be made.
        differences: Difference of each pair, by what its values were paired by: by training seed, or by fold and seed.
    """

    p: float | None
    differences: dict[K, float]


def paired_difference(values: Mapping[int, float], baseline: Mapping[int, float]) -> PairedDifference[int] | None:
    """Return mean, interval and t-test of `values` - `baseline` over shared training seeds; None if none is shared.

    A seed affects both runs of a pair alike (the first weights, the order of the batches). The difference of a pair is
    free of that effect, and so varies less than the values. `low`, `high` and `p` are None for a single pair, and for
    differences that are all equal: their spread of 0 cannot be the true one, and would make p 0 or undefined. Raise
    ValueError if a value is not finite.

    Source: Student, "The Probable Error of a Mean", Biometrika 1908: the paired test.
    """
    common = sorted(values.keys() & baseline.keys())
    if not common:
        return None
    differences = np.array([values[key] - baseline[key] for key in common])
    scale = max(abs(side[key]) for side in (values, baseline) for key in common)
    interval = mean_interval(differences)
    deviation = spread(differences, scale)
    return PairedDifference(
        mean=interval.mean,
        low=None if deviation is None else interval.low,
        high=None if deviation is None else interval.high,
        n=len(common),
        p=None if deviation is None else _p_value(interval.mean, deviation, len(common)),
        differences=dict(zip(common, differences.tolist(), strict=True)),
    )


def _p_value(mean: float, deviation: float, n: int) -> float:
    from scipy import stats  # takes a good part of a second to import

    return 2.0 * float(stats.t.sf(abs(mean) / deviation * math.sqrt(n), n - 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return `p_values` corrected by Holm's step-down method, in the order given.

    Call every difference real whose corrected p is at most 0.05. Then the chance that any of them is not real is at
    most 5 %, however the tests depend on each other. Of m tests, the k-th smallest p is multiplied by m - k + 1 and
    limited to 1. If the result is less than the corrected p of the test before, it is set to that corrected p. A p of
    None, for a test that could not be made, stays None and does not count among the m.

    Raises:
        ValueError: A p-value is not in [0, 1].

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 1979.
    """
    family = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for before, (p, place) in enumerate(family):
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"a p-value lies in 0 to 1, got {p}")
        largest = max(largest, min(1.0, p * (len(family) - before)))
        corrected[place] = largest
    return corrected
