"""Means and paired differences of a cross-validation with several training seeds in each fold.

The values of J folds are not independent, since any two of the J training sets share most of their classes. A t-test
that takes them as independent finds differences that are not there.

The model of a value, or of a difference paired by fold and seed, in fold j with seed s is

    d_js = mean + c + f_j + e_js,

where c is common to all folds (what the shared training classes do to each), f_j is the effect of fold j, and e_js that
of the seed within the fold. Seeds are a second level: they are averaged within each fold first, so that the units of
the test are the J means of the folds. Their variance s^2, with J - 1 degrees of freedom, measures
Var(f) + Var(e) / S for S seeds, and cannot see c. Nadeau and Bengio assume that two folds' results correlate by
n_test / (n_test + n_train). Then Var(c) = (n_test / n_train) (Var(f) + Var(e) / S), and the variance of the mean is

    (1/J + n_test/n_train) s^2.

In a cross-validation n_test and n_train, counted in classes and added up over the folds, have the ratio 1 / (J - 1).

Assumed: that correlation; values that are about normal; the effect of a seed in one fold says nothing of its effect in
another one. The test is exact under this model. It is cautious if c comes from the folds alone and not from the seeds.

Source: Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 2003, section 3.
"""

import math
from collections.abc import Mapping
from statistics import fmean

import numpy as np

from mdr_tune.statistics.interval import CONFIDENCE, Interval, spread
from mdr_tune.statistics.paired import PairedDifference

FoldSeed = tuple[int, int]
"""Fold, from 0, and training seed of a trial."""


def standard_error(deviation: float, means: int, folds: int) -> float:
    """Return the standard error of the mean of the means of folds, by the corrected variance.

    `deviation` is the unbiased standard deviation of the `means` (number of folds with a value), and `folds` >= 2 the
    number of folds that the classes were cut into.
    """
    return math.sqrt(1 / means + 1 / (folds - 1)) * deviation


def smallest_separated_over_folds(deviation: float, means: int, folds: int) -> float:
    """Return the smallest significant |mean| for arguments of `standard_error`; also half of the interval's width."""
    from scipy import stats  # takes a good part of a second to import

    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, means - 1)) * standard_error(deviation, means, folds)


def mean_over_folds(values: Mapping[FoldSeed, float], folds: int) -> Interval:
    """Return the mean of the folds' means of `values`, and its 95 % interval by the corrected variance.

    `values` are by (fold, seed), and `folds` is the number of folds that the classes were cut into. Its `n` is the
    number of folds with a value. There is no interval for one such fold, or for means that are all equal. Raise
    ValueError if there is no value, or one that is not finite.
    """
    if not values or not np.isfinite(list(values.values())).all():
        raise ValueError(f"a mean needs one or more finite values, got {dict(values)}")
    means = fold_means(values)
    mean, deviation = float(means.mean()), spread(means, float(np.abs(means).max()))
    if deviation is None:
        return Interval(mean, None, None, len(means))
    half = smallest_separated_over_folds(deviation, len(means), folds)
    return Interval(mean, mean - half, mean + half, len(means))


def paired_difference_over_folds(
    values: Mapping[FoldSeed, float], baseline: Mapping[FoldSeed, float], folds: int
) -> PairedDifference[FoldSeed] | None:
    """Return the mean of `values` - `baseline`, paired by (fold, seed), with its corrected interval and p-value.

    See `mean_over_folds` for `folds`, `n` and errors. The p-value is of the two-sided t-test with n - 1 degrees of
    freedom; None where there is no interval. Return None if no pair is in common.
    """
    common = sorted(values.keys() & baseline.keys())
    if not common:
        return None
    differences = {key: values[key] - baseline[key] for key in common}
    found = mean_over_folds(differences, folds)
    scale = max(abs(side[key]) for side in (values, baseline) for key in common)
    deviation = spread(fold_means(differences), scale)
    if deviation is None:
        return PairedDifference(found.mean, None, None, found.n, None, differences)
    from scipy import stats

    t = abs(found.mean) / standard_error(deviation, found.n, folds)
    p = 2.0 * float(stats.t.sf(t, found.n - 1))
    return PairedDifference(found.mean, found.low, found.high, found.n, p, differences)


def fold_means(values: Mapping[FoldSeed, float]) -> np.ndarray:
    """Return the mean over the seeds of each fold in `values`, (number of folds,), in the order of the folds."""
    numbers = sorted({fold for fold, _ in values})
    return np.array([fmean(value for (fold, _), value in values.items() if fold == number) for number in numbers])
