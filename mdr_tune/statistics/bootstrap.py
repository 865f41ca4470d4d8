"""The bootstrap over the queries of one run: how much a mean would vary if other queries of the same kind were drawn.

The bootstrap says nothing about the results of other training seeds. Queries of one class share their positives and are
not independent, so that resampling single queries understates the uncertainty. With `classes`, whole classes are
resampled, which tells how results would vary with other classes. The interval is then mostly wider.
"""

import numpy as np

from mdr_tune.statistics.interval import CONFIDENCE, Interval

RESAMPLES = 2000
DRAWS_AT_ONCE = 4_000_000
"""Number of drawn indices in memory at a time, 8 bytes each."""


def bootstrap_mean(
    values: np.ndarray, classes: np.ndarray | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Return the mean of `values` and its 95 % percentile interval by the bootstrap.

    `low` and `high` are None if there is only one query or one class, or if both ends would be equal, for example
    because all values are equal. Raise ValueError if all values are NaN, or if the shapes do not fit.

    Args:
        values: (n,), one value for each query. NaN values are left out, and not counted in the interval's `n`.
        classes: (n,), the class of each query, to resample whole classes; None resamples single queries.
        seed: Seed of the resampling; the same arguments give the same interval.
        resamples: Number of resamples.

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    return bootstrap_means(np.asarray(values)[:, None], classes, seed, resamples)[0]


def bootstrap_difference(
    values: np.ndarray,
    baseline: np.ndarray,
    classes: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the mean of `values - baseline`, paired by query, and its 95 % interval.

    Both arrays are (n,), values of the same queries in the same order; a pair with a NaN is left out. See
    `bootstrap_mean` for `classes`, `seed`, `resamples` and errors.
    """
    if np.shape(values) != np.shape(baseline):
        raise ValueError(f"pairs need equal shapes, got {np.shape(values)} and {np.shape(baseline)}")
    return bootstrap_mean(np.asarray(values) - np.asarray(baseline), classes, seed, resamples)


def bootstrap_means(
    values: np.ndarray, classes: np.ndarray | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> list[Interval]:
    """Return the mean and the 95 % interval of each column of `values`, all from the same resamples.

    `values` is (n, m), m metrics of n queries. NaN values are left out. Raise ValueError if a column is all NaN. See
    `bootstrap_mean` for `classes`, `seed`, `resamples` and errors.
    """
    values = np.asarray(values, dtype=np.float64)
    there = ~np.isnan(values)
    if values.ndim != 2 or not there.any(axis=0).all() or (classes is not None and len(classes) != len(values)):
        raise ValueError(f"expected (n, m) values, some of them in each column, and n classes; got {values.shape}")
    sums, sizes = np.where(there, values, 0.0), there.astype(np.float64)  # of each unit, a query or a class
    if classes is not None:
        _, unit = np.unique(classes, return_inverse=True)
        sums, sizes = _by_unit(sums, unit), _by_unit(sizes, unit)
    means = _resampled(sums, sizes, seed, resamples)
    tail = 50.0 * (1.0 - CONFIDENCE)
    lows, highs = np.nanpercentile(means, [tail, 100.0 - tail], axis=0)
    result = []
    for column, low, high in zip(range(values.shape[1]), lows, highs, strict=True):
        n = int(there[:, column].sum())
        one = int((sizes[:, column] > 0).sum()) < 2 or low == high  # an interval of width 0 would claim certainty
        mean = float(sums[:, column].sum() / n)
        result.append(Interval(mean, None if one else float(low), None if one else float(high), n))
    return result


def _by_unit(values: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return the sum of the rows of each unit, (units, m). A unit is a query or a class.

    `values` is (n, m). `unit`, (n,), is the index of each row's unit.
    """
    total = np.zeros((int(unit.max()) + 1, values.shape[1]))
    np.add.at(total, unit, values)
    return total


def _resampled(sums: np.ndarray, sizes: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Return the mean of each resample, (resamples, m); NaN if a resample has no value in a column.

    A unit is a query or a class. `sums` and `sizes`, both (units, m), are the sum and the number of each unit's values.
    A resample counts how often each unit was drawn. The mean of a column is the sum over all units of count times
    `sums`, divided by the sum over all units of count times `sizes`. The same draw is used for all columns. The
    resamples are drawn in blocks, to limit memory; the block size does not change the draws from `seed`.
    """
    rng, units = np.random.default_rng(seed), len(sums)
    means = np.empty((resamples, sums.shape[1]))
    block = max(1, DRAWS_AT_ONCE // units)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, units, size=(rows, units))
        drawn += units * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means[start : start + rows] = (counts @ sums) / (counts @ sizes)
    return means
