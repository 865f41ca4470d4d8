"""Plot the normalised distances of a batch together with MDR's levels, early, midway and at the end of a training."""

from typing import TYPE_CHECKING

import numpy as np

from mdr_tune.records.distance_snapshot import BINS, HIGH, LOW, DistanceSnapshot
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.plots.drawing import Drawing, new_figure
from mdr_tune.report.plots.shown_rows import best_and_baselines, best_in_words, label
from mdr_tune.report.rows import AblationTable, Row, RunKey
from mdr_tune.report.style import BLUE, GREY, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 3
_EDGES = np.linspace(LOW, HIGH, BINS + 1)


def density(counts: list[int]) -> np.ndarray:
    """Return the `counts` of a histogram as a density that integrates to 1 over the bins; zeros if all counts are 0."""
    values = np.asarray(counts, dtype=float)
    total = max(float(values.sum()), 1.0)
    return np.asarray(values / (total * (HIGH - LOW) / BINS))


def distances(_evidence: SweepEvidence, table: AblationTable) -> Drawing | None:
    """Draw histograms of the distances for the best row of `table` with MDR and its baselines; None without distances.

    Each row has a line of panels, each recorded epoch a column.
    """
    rows = best_and_baselines(table, lambda row: _seed(row) is not None, MOST_ROWS)
    if not rows:
        return None
    found = [(row, _snapshots(row)) for row in rows]
    columns = max(len(snapshots) for _, snapshots in found)
    figure = new_figure(1.9 * len(rows) + 0.9)
    grid = figure.subplots(len(rows), columns, sharex=True, sharey="row", squeeze=False)
    for line, (row, snapshots) in zip(grid, found, strict=True):
        for axes, snapshot in zip(line, snapshots, strict=False):
            _panel(axes, snapshot)
        for axes in line[len(snapshots) :]:
            axes.set_axis_off()
        line[0].set_ylabel(label(row, 22))
    figure.supxlabel("normalised distance z = (d \N{MINUS SIGN} mean) / deviation", fontsize=10)
    handles, labels = grid[-1][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return Drawing(figure, "Distances within a batch", _caption(table, rows))


def _caption(table: AblationTable, rows: list[Row]) -> str:
    names = ", ".join(row.records[key].name for row in rows if (key := _seed(row)) is not None)
    return (
        "Density of the normalised distances in the last batch of an epoch, pairs of one class and of two classes "
        "apart, each with an area of 1, and MDR's levels at that moment. "
        f"One seed of each row: {names}.{best_in_words(table, rows)} "
        f"Distances beyond \N{PLUS-MINUS SIGN}{HIGH:g} are counted in the outermost bins."
    )


def _seed(row: Row) -> RunKey | None:
    return next((seed for seed, record in row.records.items() if record.distances), None)


def _snapshots(row: Row) -> list[DistanceSnapshot]:
    seed = _seed(row)
    return [] if seed is None else row.records[seed].distances


def _panel(axes: "Axes", snapshot: DistanceSnapshot) -> None:
    axes.stairs(density(snapshot.different), _EDGES, fill=True, color=GREY, alpha=0.45, label="different classes")
    axes.stairs(density(snapshot.same), _EDGES, color=BLUE, linewidth=1.5, label="same class")
    for i, level in enumerate(snapshot.levels or []):
        axes.axvline(level, color=VERMILLION, linestyle="--", linewidth=1.2, label="" if i else "MDR's levels")
    axes.set_title(f"epoch {snapshot.epoch}")
    axes.set_xlim(LOW, HIGH)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
