"""Figures over the epochs and of single moments: what is drawn are the recorded values."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mdr_tune.records.distance_snapshot import BINS, HIGH, LOW
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.report.plots.distances import density, distances
from mdr_tune.report.plots.learning_curves import curve_keys, learning_curves
from mdr_tune.report.plots.levels import level_shares, level_trajectories
from mdr_tune.report.plots.series import series
from tests.report.make_evidence import EPOCHS, make_evidence
from tests.report.plots.plain_table import plain_table

EVIDENCE = make_evidence()
TABLE = plain_table(EVIDENCE)
RECORDS = {trial.record.name: trial.record for trial in EVIDENCE.sweep.trials}


def recorded(names: list[str], key: str) -> np.ndarray:
    """Return a metric by trial and epoch."""
    return np.array([[epoch[key] for epoch in RECORDS[name].history] for name in names])


def panel(drawing: Any, place: int) -> Any:
    assert drawing is not None
    return drawing.figure.axes[place]


def test_levels_begin_at_their_initial_values_and_end_where_they_were_learned() -> None:
    drawing = level_trajectories(EVIDENCE, TABLE)
    axes = panel(drawing, 1)
    assert axes.get_title().replace("\n", " ") == "triplet + MDR, embedding size 64"
    names = ["mdr-002", "mdr-002.2", "mdr-002.3"]
    means = [line for line in axes.lines if line.get_label() == "mean"]
    thin = [line for line in axes.lines if line.get_linewidth() < 1 and len(line.get_xdata()) == EPOCHS + 1]
    assert (len(means), len(thin)) == (3, 9)
    for k, (line, initial) in enumerate(zip(means, (-3.0, 0.0, 3.0), strict=True)):
        values = recorded(names, f"mdr/level_{k}")
        np.testing.assert_array_equal(line.get_xdata(), range(EPOCHS + 1))
        np.testing.assert_allclose(line.get_ydata(), [initial, *values.mean(axis=0)])
        for seed in range(3):
            np.testing.assert_array_equal(thin[3 * k + seed].get_ydata(), [initial, *values[seed]])
    assert drawing is not None
    assert "2 to 3 seeds" in drawing.caption  # of the first row one seed diverged


def test_more_rows_than_there_is_room_for_are_said() -> None:
    best = [row for row in TABLE.rows if row.name == "mdr-002"]
    rows = [replace(best[0], setting=f"size {i}") for i in range(8)]
    drawing = level_trajectories(EVIDENCE, replace(TABLE, rows=rows))
    assert drawing is not None
    assert len(drawing.figure.axes) == 6
    assert "Shown are 6 of 8 rows with MDR" in drawing.caption


def test_shares_are_stacked_to_the_whole() -> None:
    axes = panel(level_shares(EVIDENCE, TABLE), 1)
    below = np.zeros(EPOCHS)
    for k, area in enumerate(axes.collections):
        share = 100.0 * recorded(["mdr-002", "mdr-002.2", "mdr-002.3"], f"mdr/held_{k}").mean(axis=0)
        corners = area.get_paths()[0].vertices
        for epoch in range(1, EPOCHS + 1):
            at_epoch = corners[corners[:, 0] == epoch][:, 1]
            assert at_epoch.min() == pytest.approx(below[epoch - 1])
            assert at_epoch.max() == pytest.approx(below[epoch - 1] + share[epoch - 1])
        below += share
    np.testing.assert_allclose(below, 100.0)
    assert [text.get_text() for text in axes.texts] == ["\N{MINUS SIGN}3", "0", "3"]


def test_curves_are_the_mean_of_the_seeds_with_its_interval() -> None:
    drawing = learning_curves(EVIDENCE, TABLE)
    assert drawing is not None
    assert [axes.get_title() for axes in drawing.figure.axes] == ["train classes", "validation classes", "test classes"]
    for axes, key in zip(drawing.figure.axes, curve_keys("val/recall_at_1").values(), strict=True):
        lines = {str(line.get_label()): line for line in axes.lines}
        values = recorded(["mdr-002", "mdr-002.2", "mdr-002.3"], key)
        line = lines["triplet + MDR, embedding size 64"]
        np.testing.assert_allclose(np.asarray(line.get_ydata()), values.mean(axis=0))
        band = axes.collections[list(lines).index("triplet + MDR, embedding size 64")].get_paths()[0].vertices
        low, high = stats.t.interval(0.95, 2, values.mean(axis=0), stats.sem(values, axis=0))
        for epoch in range(1, EPOCHS + 1):
            at_epoch = np.asarray(band)[np.asarray(band)[:, 0] == epoch][:, 1]
            assert (at_epoch.min(), at_epoch.max()) == pytest.approx((low[epoch - 1], high[epoch - 1]))


def test_of_many_rows_the_best_and_its_baselines_have_curves() -> None:
    drawing = learning_curves(EVIDENCE, TABLE)
    assert drawing is not None
    names = {str(line.get_label()) for line in drawing.figure.axes[0].lines}
    assert {f"{method}, embedding size 64" for method in ("triplet", "triplet_l2", "triplet + MDR")} < names
    assert "Shown are 4 of 6 rows: the best with MDR at test Recall@1" in drawing.caption


def test_the_authors_protocol_has_train_and_test_curves() -> None:
    expected = {"train": "curves/train_map_at_r", "validation": "val/map_at_r", "test": "curves/test_map_at_r"}
    assert curve_keys("curves/test_map_at_r") == curve_keys("val/map_at_r") == expected


def test_series_are_of_the_epochs_that_all_seeds_have() -> None:
    def record(values: list[float]) -> TrialRecord:
        history = [{"epoch": float(i), "m": value} for i, value in enumerate(values, 1)]
        return TrialRecord("t", "mdr", 0, {}, {"seed": 0}, history=history)

    found = series({0: record([1.0, 2.0, 5.0]), 4: record([3.0, 2.0]), 5: record([])}, "m")
    assert found is not None
    assert (found.epochs.tolist(), found.mean.tolist(), sorted(found.by_seed)) == ([1, 2], [2.0, 2.0], [0, 4])
    assert found.low is not None
    assert found.low[0] == pytest.approx(2 - stats.t.ppf(0.975, 1))
    assert np.isnan(found.low[1])
    alone = series({0: record([1.0, float("nan"), 5.0])}, "m")
    assert alone is not None
    assert (alone.epochs.tolist(), alone.low) == ([1, 3], None)
    assert series({0: record([1.0])}, "other") is None


def test_distances_are_densities_with_the_levels_of_that_moment() -> None:
    drawing = distances(EVIDENCE, TABLE)
    assert drawing is not None
    grid = np.array(drawing.figure.axes).reshape(3, 3)
    for line, name in zip(grid, ("triplet-002", "triplet_l2-002", "mdr-002"), strict=True):
        for axes, snapshot in zip(line, RECORDS[name].distances, strict=True):
            assert axes.get_title() == f"epoch {snapshot.epoch}"
            different, same = (patch.get_data() for patch in axes.patches)
            width = (HIGH - LOW) / BINS
            np.testing.assert_allclose(different.values, np.array(snapshot.different) / sum(snapshot.different) / width)
            np.testing.assert_allclose(same.values, np.array(snapshot.same) / sum(snapshot.same) / width)
            np.testing.assert_allclose(same.edges, np.linspace(LOW, HIGH, BINS + 1))
            assert [level.get_xdata()[0] for level in axes.lines] == (snapshot.levels or [])


def test_no_pairs_of_one_class_have_no_density() -> None:
    assert not density([0] * BINS).any()
    assert density([3] * BINS).sum() * (HIGH - LOW) / BINS == pytest.approx(1)
