"""The bootstrap, against scipy's with the same draws, a naive loop, and simulated data whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from mdr_tune.statistics import bootstrap
from mdr_tune.statistics.bootstrap import bootstrap_difference, bootstrap_mean, bootstrap_means
from mdr_tune.statistics.interval import Interval


def scores(n: int = 60, seed: int = 0) -> np.ndarray:
    return 100.0 * np.random.default_rng(seed).uniform(size=n)


def test_it_is_scipys_with_the_same_draws() -> None:
    values = scores()
    found = bootstrap_mean(values, seed=3, resamples=500)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=500, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert found.mean == pytest.approx(values.mean())
    assert found.n == 60


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, classes = scores(61), np.arange(61) // 3
    whole = [bootstrap_mean(values, resamples=101), bootstrap_mean(values, classes, resamples=101)]
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 7 * 61)
    assert [bootstrap_mean(values, resamples=101), bootstrap_mean(values, classes, resamples=101)] == whole


def test_several_metrics_are_each_as_if_alone() -> None:
    values = np.stack([scores(seed=1), scores(seed=2) > 50.0], axis=1)
    first, second = bootstrap_means(values, resamples=300)
    assert (first.low, first.high) == pytest.approx(_ends(bootstrap_mean(values[:, 0], resamples=300)))
    assert (second.low, second.high) == pytest.approx(_ends(bootstrap_mean(values[:, 1], resamples=300)))


def test_nan_is_left_out_as_in_a_naive_loop() -> None:
    values = scores(12)
    values[[2, 5]] = np.nan
    rng = np.random.default_rng(0)
    means = [np.nanmean(values[rng.integers(0, 12, size=12)]) for _ in range(400)]
    found = bootstrap_mean(values, resamples=400)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))
    assert found.mean == pytest.approx(np.nanmean(values))
    assert found.n == 10


def test_classes_are_resampled_whole_as_in_a_naive_loop() -> None:
    values, classes = scores(14), np.array([5] * 2 + [9] * 5 + [1] * 3 + [7] * 4)
    members = [values[classes == label] for label in np.unique(classes)]
    rng = np.random.default_rng(4)
    means = [np.concatenate([members[i] for i in rng.integers(0, 4, size=4)]).mean() for _ in range(400)]
    found = bootstrap_mean(values, classes, seed=4, resamples=400)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))


def test_where_classes_differ_their_bootstrap_is_wider() -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(30), 20)
    clustered = rng.normal(size=30)[classes] + rng.normal(size=600)
    over_queries, over_classes = bootstrap_mean(clustered), bootstrap_mean(clustered, classes)
    assert _width(over_classes) > 2.0 * _width(over_queries)  # in theory: sqrt((1 + 1/20) / (2/20)) = 3.2 times
    alike = rng.normal(size=600)
    assert _width(bootstrap_mean(alike, classes)) == pytest.approx(_width(bootstrap_mean(alike)), rel=0.35)


def test_pairs_are_kept_together() -> None:
    baseline = scores(200)
    found = bootstrap_difference(baseline + 1.0, baseline)
    assert (found.low, found.high) == pytest.approx((1.0, 1.0))
    values = baseline + np.random.default_rng(1).normal(size=200)
    assert bootstrap_difference(values, baseline) == bootstrap_mean(values - baseline)


def test_a_pair_without_one_of_its_values_is_left_out() -> None:
    values, baseline = np.array([1.0, np.nan, 5.0, 2.0]), np.array([0.0, 1.0, np.nan, 0.0])
    found = bootstrap_difference(values, baseline)
    assert (found.mean, found.n) == (1.5, 2)


def test_it_covers_the_truth_about_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(5)
    intervals = [bootstrap_mean(rng.random(200) < 0.7, resamples=400) for _ in range(300)]
    covered = sum(i.low <= 0.7 <= i.high for i in intervals if i.low is not None and i.high is not None)
    assert 0.90 <= covered / 300 <= 0.98


def test_the_same_arguments_give_the_same_interval() -> None:
    assert bootstrap_mean(scores()) == bootstrap_mean(scores())
    assert bootstrap_mean(scores()) != bootstrap_mean(scores(), seed=1)


def test_one_query_or_one_class_has_no_interval() -> None:
    assert _ends(bootstrap_mean(np.array([1.0]))) == (None, None)
    assert _ends(bootstrap_mean(np.array([1.0, np.nan]))) == (None, None)
    assert _ends(bootstrap_mean(np.array([1.0, 2.0]), np.array([3, 3]))) == (None, None)


@pytest.mark.parametrize("values", [np.array([]), np.array([np.nan, np.nan])])
def test_no_query_no_mean(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="some of them"):
        bootstrap_mean(values)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        bootstrap_difference(np.zeros(3), np.zeros(1))
    with pytest.raises(ValueError, match="n classes"):
        bootstrap_mean(np.zeros(3), np.zeros(2))


def _ends(interval: Interval) -> tuple[float | None, float | None]:
    return interval.low, interval.high


def _width(interval: Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return interval.high - interval.low


def test_values_without_any_spread_have_no_interval() -> None:
    assert bootstrap_mean(np.full(50, 100.0)) == Interval(100.0, None, None, 50)
    assert bootstrap_mean(np.zeros(50), np.arange(50) // 5) == Interval(0.0, None, None, 50)
    same, spread = bootstrap_means(np.stack([np.zeros(60), scores()], axis=1))
    assert (same.low, same.high) == (None, None)
    assert spread.low is not None
    assert spread.high is not None
    assert spread.low < spread.high
    assert bootstrap_difference(scores() + 1.0, scores() + 1.0) == Interval(0.0, None, None, 60)
