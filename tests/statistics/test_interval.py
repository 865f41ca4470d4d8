"""The t-interval, against scipy and the formula."""

import math

import numpy as np
import pytest
from scipy import stats

from mdr_tune.statistics.interval import mean_interval, smallest_separated, spread


@pytest.mark.parametrize("values", [[1.0, 2.0], [71.25, 73.0, 70.5], list(np.linspace(-3, 40, 17) ** 2)])
def test_it_is_scipys(values: list[float]) -> None:
    found = mean_interval(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.n == len(values)


def test_it_is_the_formula_with_students_own_table() -> None:
    found = mean_interval([1.0, 2.0, 6.0])  # mean 3, squared deviations 4 + 1 + 9, t of 2 degrees of freedom 4.3027
    half = 4.302652729696142 * math.sqrt(14 / 2) / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))


def test_one_value_has_no_interval() -> None:
    found = mean_interval([70.0])
    assert (found.mean, found.low, found.high, found.n) == (70.0, None, None, 1)


@pytest.mark.parametrize("values", [[70.0, 70.0, 70.0], [0.1 + 0.2, 0.3, 0.3]])
def test_equal_values_have_no_interval_of_width_zero(values: list[float]) -> None:
    assert mean_interval(values).low is None
    assert mean_interval(values).high is None


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf], [[1.0, 2.0]]])
def test_what_has_no_mean_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        mean_interval(values)


def test_a_small_spread_of_small_numbers_is_one() -> None:
    values = np.array([1e-12, 2e-12])
    assert spread(values, 2e-12) == pytest.approx(np.std(values, ddof=1))
    assert spread(values, 70.0) is None


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_mean_of_the_smallest_separated_size_has_p_of_a_twentieth(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    values -= values.mean()
    values += smallest_separated(float(values.std(ddof=1)), n)
    assert stats.ttest_1samp(values, 0.0).pvalue == pytest.approx(0.05)


def test_it_covers_the_truth_nineteen_times_in_twenty() -> None:
    draws = np.random.default_rng(0).normal(5.0, 2.0, size=(400, 3))
    intervals = [mean_interval(row) for row in draws]
    covered = sum(i.low <= 5.0 <= i.high for i in intervals if i.low is not None and i.high is not None)
    assert 0.92 <= covered / len(draws) <= 0.98
