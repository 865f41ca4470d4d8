"""The difference between two sets of runs, paired by training seed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mdr_tune.statistics.interval import mean_interval, spread


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference of the pairs, with its interval and its test.

    Attributes:
        mean: Mean of the differences.
        low: Lower end of the 95 % t-interval; None where there is no interval.
        high: Upper end of the interval; None where there is no interval.
        p: p-value of the two-sided paired t-test; None where there is no test.
        differences: Difference of each pair, by training seed.
        left_out: Training seeds that only one of the two sets has.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    differences: dict[int, float]
    left_out: list[int]

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.differences)

    @property
    def deviation(self) -> float | None:
        """The unbiased standard deviation of the differences; None where there is no test."""
        return None if self.p is None else float(np.std(list(self.differences.values()), ddof=1))


def paired_difference(values: Mapping[int, float], baseline: Mapping[int, float]) -> PairedDifference | None:
    """Return the mean of `values` less `baseline` over the seeds that both have; None if there is no such seed.

    A seed affects both runs of a pair alike (the first weights, the order of the batches). The difference of a pair is
    free of that effect, and so varies less than the values. A single pair has neither interval nor p. Nor have
    differences that are all equal: p would be 0, or undefined, on the strength of a spread that cannot be true.

    Args:
        values: Value of each run, by training seed.
        baseline: Value of each run of the baseline, by training seed.

    Raises:
        ValueError: A value is not finite.

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
        p=None if deviation is None else _p_value(interval.mean, deviation, len(common)),
        differences=dict(zip(common, differences.tolist(), strict=True)),
        left_out=sorted(values.keys() ^ baseline.keys()),
    )


def _p_value(mean: float, deviation: float, n: int) -> float:
    from scipy import stats  # takes a good part of a second to import

    return 2.0 * float(stats.t.sf(abs(mean) / deviation * math.sqrt(n), n - 1))
