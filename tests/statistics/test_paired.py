"""The paired difference, against scipy."""

import numpy as np
import pytest
from scipy import stats

from mdr_tune.statistics.paired import paired_difference

A = {0: 72.5, 1: 74.0, 2: 70.25, 7: 73.0}
B = {0: 70.0, 1: 72.75, 2: 69.0, 7: 70.5}


def test_it_is_scipys_paired_test() -> None:
    found = paired_difference(A, B)
    assert found is not None
    expected = stats.ttest_rel(list(A.values()), list(B.values()))
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert found.mean == pytest.approx(np.mean(list(A.values())) - np.mean(list(B.values())))
    assert found.n == 4
    assert found.differences == {0: 2.5, 1: 1.25, 2: 1.25, 7: 2.5}


def test_the_order_of_the_seeds_does_not_matter_and_the_sign_turns() -> None:
    forth = paired_difference(A, B)
    back = paired_difference(dict(reversed(B.items())), A)
    assert forth is not None
    assert back is not None
    assert back.mean == -forth.mean
    assert back.p == pytest.approx(forth.p)


def test_only_common_seeds_count() -> None:
    found = paired_difference({**A, 9: 1000.0}, {**B, 3: -1000.0})
    alone = paired_difference(A, B)
    assert found is not None
    assert alone is not None
    assert (found.mean, found.p, found.differences) == (alone.mean, alone.p, alone.differences)


def test_no_common_seed_no_difference() -> None:
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    assert paired_difference({}, {}) is None


def test_one_pair_has_a_difference_and_no_more() -> None:
    found = paired_difference({0: 72.0, 1: 3.0}, {0: 70.0})
    assert found is not None
    assert (found.mean, found.low, found.high, found.p) == (2.0, None, None, None)


@pytest.mark.parametrize(
    ("values", "baseline"),
    [
        ({0: 72.0, 1: 74.0}, {0: 70.0, 1: 72.0}),
        ({0: 70.1, 1: 71.1, 2: 64.1}, {0: 69.0, 1: 70.0, 2: 63.0}),  # equal but for rounding
        ({0: 70.0, 1: 71.0}, {0: 70.0, 1: 71.0}),
    ],
)
def test_differences_without_spread_prove_nothing(values: dict[int, float], baseline: dict[int, float]) -> None:
    found = paired_difference(values, baseline)
    assert found is not None
    assert (found.low, found.high, found.p) == (None, None, None)


def test_a_value_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        paired_difference({0: float("nan"), 1: 1.0}, {0: 1.0, 1: 1.0})
