"""Holm's correction, against statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from mdr_tune.statistics.paired import holm


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_it_is_statsmodels(n: int) -> None:
    p_values = np.random.default_rng(n).uniform(size=n) ** 3
    assert holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_it_can_be_followed_by_hand() -> None:
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])


def test_equal_and_extreme_p_values() -> None:
    p_values = [0.02, 0.02, 0.0, 1.0, 0.9]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_what_was_not_tested_is_not_in_the_family() -> None:
    assert holm([None, 0.01, None, 0.04]) == [None, pytest.approx(0.02), None, pytest.approx(0.04)]
    assert holm([None]) == [None]
    assert holm([]) == []


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        holm([0.5, p])
