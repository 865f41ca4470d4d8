"""The corrected test over folds: against scipy, and how often it finds a difference where there is none."""

import numpy as np
import pytest
from scipy import stats

from mdr_tune.statistics import mean_over_folds, paired_difference, paired_difference_over_folds

A = {(0, 0): 71.0, (0, 1): 73.0, (1, 0): 68.0, (1, 1): 70.0, (2, 0): 75.0, (2, 1): 74.0}
B = {(0, 0): 70.0, (0, 1): 70.0, (1, 0): 68.5, (1, 1): 68.5, (2, 0): 71.0, (2, 1): 73.0}


def test_the_difference_is_that_of_the_formula() -> None:
    found = paired_difference_over_folds(A, B, folds=3)
    assert found is not None
    means = np.array([2.0, 0.5, 2.5])  # of the folds: (1 + 3)/2, (-0.5 + 1.5)/2, (4 + 1)/2
    error = np.sqrt((1 / 3 + 1 / 2) * means.var(ddof=1))
    assert found.mean == pytest.approx(means.mean())
    assert found.n == 3
    assert [found.low, found.high] == pytest.approx(stats.t.interval(0.95, 2, means.mean(), error))
    assert found.p == pytest.approx(2 * stats.t.sf(means.mean() / error, 2))
    assert found.differences[2, 0] == 4.0
    alone = mean_over_folds(found.differences, folds=3)
    assert (alone.mean, alone.low, alone.high) == (found.mean, found.low, found.high)


def test_a_fold_counts_once_however_many_of_its_seeds_there_are() -> None:
    found = mean_over_folds({(0, 0): 1.0, (1, 0): 4.0, (1, 1): 6.0}, folds=4)
    half = stats.t.ppf(0.975, 1) * np.sqrt((1 / 2 + 1 / 3) * 8.0)  # means 1 and 5
    assert (found.mean, found.n) == (3.0, 2)
    assert found.high == pytest.approx(3.0 + half)


def test_one_fold_and_equal_folds_have_no_interval() -> None:
    assert mean_over_folds({(1, 0): 1.0, (1, 1): 2.0}, folds=3).low is None
    same = paired_difference_over_folds({(0, 0): 2.1, (1, 0): 0.3}, {(0, 0): 1.1, (1, 0): -0.7}, folds=2)
    assert same is not None
    assert same.mean == pytest.approx(1.0)
    assert (same.low, same.p) == (None, None)
    assert paired_difference_over_folds({(0, 0): 1.0}, {(1, 0): 1.0}, folds=2) is None
    with pytest.raises(ValueError, match="finite"):
        mean_over_folds({(0, 0): float("nan")}, folds=2)


SWEEPS = 20_000


@pytest.mark.parametrize("common_to", ["folds and seeds", "folds"])
@pytest.mark.parametrize(("folds", "seeds", "seed_variance"), [(4, 3, 1.0), (5, 2, 0.5), (3, 2, 1.0), (10, 1, 0.5)])
def test_false_positives_of_folds_that_share_training_classes(
    folds: int, seeds: int, seed_variance: float, common_to: str
) -> None:
    """Draw differences whose mean is 0: of 5 % tests the corrected one rejects 3 to 6 %, the naive one above 10 %.

    The fold effects have variance 1. The common component has the variance that the correlation n_test / (n_test +
    n_train) of two folds means: of the folds' means over seeds, or of the fold effects alone.
    """
    rng = np.random.default_rng(7)
    variance = 1.0 + (seed_variance / seeds if common_to == "folds and seeds" else 0.0)
    common = rng.normal(0.0, np.sqrt(variance / (folds - 1)), (SWEEPS, 1, 1))
    effects = rng.normal(0.0, 1.0, (SWEEPS, folds, 1))
    drawn = common + effects + rng.normal(0.0, np.sqrt(seed_variance), (SWEEPS, folds, seeds))
    means, every = drawn.mean(axis=2), drawn.reshape(SWEEPS, -1)
    error = means.std(axis=1, ddof=1) * np.sqrt(1 / folds + 1 / (folds - 1))
    corrected = 2 * stats.t.sf(np.abs(means.mean(axis=1)) / error, folds - 1)
    naive = stats.ttest_1samp(every, 0.0, axis=1).pvalue
    for sweep in range(5):  # the vectorised test is the one of the report
        keys = [(fold, seed) for fold in range(folds) for seed in range(seeds)]
        values = dict(zip(keys, every[sweep].tolist(), strict=True))
        nothing = dict.fromkeys(keys, 0.0)
        found = paired_difference_over_folds(values, nothing, folds)
        pooled = paired_difference(dict(enumerate(values.values())), dict(enumerate(nothing.values())))
        assert found is not None
        assert pooled is not None
        assert [found.p, pooled.p] == pytest.approx([corrected[sweep], naive[sweep]])
    assert 0.03 <= np.mean(corrected <= 0.05) <= 0.06
    assert np.mean(naive <= 0.05) > 0.10
