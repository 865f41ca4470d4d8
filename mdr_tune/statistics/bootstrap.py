"""The bootstrap over the queries of one run: how far a mean over these queries may be from that over all of their kind.

It says nothing of what another training seed would have given. Queries of one class share their gallery and are not
independent, so that resampling single queries understates the uncertainty: with `classes`, whole classes are resampled,
which is right where the question is what other classes would give, and is mostly wider.
"""

import numpy as np

from mdr_tune.statistics.interval import CONFIDENCE, Interval

RESAMPLES = 2000
DRAWS_AT_ONCE = 4_000_000
"""Indices held at a time, 8 bytes each."""


def bootstrap_mean(
    values: np.ndarray, classes: np.ndarray | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Return the mean of `values` and its 95 % percentile interval by the bootstrap.

    Args:
        values: (n,), one a query; NaN is left out.
        classes: (n,), the class of each query: whole classes are resampled then. None: single queries are.
        seed: Of the resampling; the same arguments give the same interval.
        resamples: How many.

    Returns:
        `n` is the number of queries that are not NaN. Of one query, or one class, or of equal ones,
        there is no interval.

    Raises:
        ValueError: There is no query, or the shapes do not fit.

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
    """Return the mean of `values - baseline`, paired by query, and its interval: see `bootstrap_mean`.

    Args:
        values: (n,), NaN where there is none: the pair is left out.
        baseline: (n,), the same queries in the same order.
        classes: (n,).
        seed: Of the resampling.
        resamples: How many.

    Raises:
        ValueError: There is no pair, or the shapes do not fit.
    """
    if np.shape(values) != np.shape(baseline):
        raise ValueError(f"pairs need equal shapes, got {np.shape(values)} and {np.shape(baseline)}")
    return bootstrap_mean(np.asarray(values) - np.asarray(baseline), classes, seed, resamples)


def bootstrap_means(
    values: np.ndarray, classes: np.ndarray | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> list[Interval]:
    """Return the interval of each column of `values`, all with the same resamples: see `bootstrap_mean`.

    Args:
        values: (n, m), m metrics of n queries. NaN is left out of its column.
        classes: (n,).
        seed: Of the resampling.
        resamples: How many.

    Raises:
        ValueError: A column is empty, or the shapes do not fit.
    """
    values = np.asarray(values, dtype=np.float64)
    there = ~np.isnan(values)
    if values.ndim != 2 or not there.any(axis=0).all() or (classes is not None and len(classes) != len(values)):
        raise ValueError(f"expected (n, m) values, some of them in each column, and n classes; got {values.shape}")
    sums, sizes = np.where(there, values, 0.0), there.astype(np.float64)  # of the units that are resampled
    if classes is not None:
        _, unit = np.unique(classes, return_inverse=True)
        sums, sizes = _by_unit(sums, unit), _by_unit(sizes, unit)
    means = _resampled(sums, sizes, seed, resamples)
    tail = 50.0 * (1.0 - CONFIDENCE)
    lows, highs = np.nanpercentile(means, [tail, 100.0 - tail], axis=0)
    result = []
    for column, low, high in zip(range(values.shape[1]), lows, highs, strict=True):
        n = int(there[:, column].sum())
        one = int((sizes[:, column] > 0).sum()) < 2 or low == high  # a width of 0 would claim certainty
        mean = float(sums[:, column].sum() / n)
        result.append(Interval(mean, None if one else float(low), None if one else float(high), n))
    return result


def _by_unit(values: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Add up the rows of each unit: (n, m) -> (units, m)."""
    total = np.zeros((int(unit.max()) + 1, values.shape[1]))
    np.add.at(total, unit, values)
    return total


def _resampled(sums: np.ndarray, sizes: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Return the mean of each resample, (resamples, m); NaN where one holds no value at all.

    Units are counted, and sums weighed by the counts: one draw serves all columns. In blocks, so that memory does not
    grow with resamples x units; a block draws on where the one before it ended.
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
