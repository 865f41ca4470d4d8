"""Plot MDR's levels over the training: their values, and the share of a batch's pairs that is nearest to each level."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mdr_tune.config.domains import describe_value, tell_apart
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.report.plots.drawing import Drawing, panel_grid, whole_epochs
from mdr_tune.report.plots.series import Series, numbered, series
from mdr_tune.report.plots.shown_rows import few, label, of_all, runs_in_words
from mdr_tune.report.rows import AblationTable, Row, RunKey
from mdr_tune.report.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 6
LEVEL = "mdr/level_"
TITLE_WIDTH = 28
HELD = "mdr/held_"
_HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++")
_THIN = 7.0
"""Share of the pairs, in percent, from which on the drawn area of a level has room for the level's name."""


def level_trajectories(_evidence: SweepEvidence, table: AblationTable) -> Drawing | None:
    """Draw MDR's levels over the epochs, a panel for each row of `table` with MDR; None without recorded levels."""

    def usable(row: Row) -> bool:
        return row.has_mdr and bool(numbered(row.records, LEVEL))

    rows = few(table, MOST_PANELS, usable)
    if not rows:
        return None
    figure = _row_panels(rows, _trajectories, 2.5, "epoch (0: before training)", "level, in standard deviations")
    seeds, runs = runs_in_words(rows), "trials" if any(row.folds for row in rows) else "seeds"
    lines = f"; thin lines are {runs}, thick lines their mean ({seeds})" if any(len(r.seeds) > 1 for r in rows) else ""
    return Drawing(
        figure,
        "Levels over the training",
        "MDR's levels from their initial values (squares, dotted lines) over the epochs"
        f"{lines}.{of_all(rows, table, _has_mdr, 'rows with MDR')}",
    )


def _has_mdr(row: Row) -> bool:
    return row.has_mdr


def initial_levels(records: dict[RunKey, TrialRecord], count: int) -> list[float] | None:
    """Return the initial values of MDR's `count` levels, averaged over `records`; None if a record lists none."""
    found = [(record.config.get("mdr") or {}).get("levels") for record in records.values()]
    if not all(isinstance(levels, list | tuple) and len(levels) == count for levels in found):
        return None
    return [float(level) for level in np.mean(np.array(found, dtype=float), axis=0)]


def _trajectories(axes: "Axes", records: dict[RunKey, TrialRecord]) -> None:
    keys = numbered(records, LEVEL)
    initial = initial_levels(records, len(keys))
    for k, key in enumerate(keys):
        found = series(records, key)
        if found is not None:
            _level(axes, found, None if initial is None else initial[k], COLOURS[k % len(COLOURS)])


def _level(axes: "Axes", found: Series, initial: float | None, colour: str) -> None:
    before = [] if initial is None else [initial]
    epochs = [*[0] * len(before), *found.epochs]
    if initial is not None:
        axes.axhline(initial, color=colour, linestyle=":", linewidth=1, alpha=0.8)
        axes.plot([0], before, marker="s", markersize=5, color=colour, clip_on=False, zorder=3)
    if len(found.by_seed) > 1:
        for values in found.by_seed.values():
            axes.plot(epochs, [*before, *values], color=colour, linewidth=0.8, alpha=0.55)
    axes.plot(epochs, [*before, *found.mean], color=colour, linewidth=2.2, label="mean")


def level_shares(_evidence: SweepEvidence, table: AblationTable) -> Drawing | None:
    """Draw the share of pairs nearest to each level over the epochs, for rows of `table` with MDR; None without any."""

    def usable(row: Row) -> bool:
        keys = numbered(row.records, HELD) if row.has_mdr else []
        known = series(row.records, keys[0]) if keys else None
        return known is not None and len(known.epochs) > 1

    rows = few(table, MOST_PANELS, usable)
    if not rows:
        return None
    figure = _row_panels(rows, _shares, 2.4, "epoch", "share of the pairs, %")
    seeds = runs_in_words(rows)
    return Drawing(
        figure,
        "Pairs that each level holds",
        "Share of the pairs whose normalised distance is nearest to each level, from the first level at the bottom to "
        f"the last at the top, in the mean of {seeds} a row; numbers are the levels' initial values."
        f"{of_all(rows, table, _has_mdr, 'rows with MDR')}",
    )


def _shares(axes: "Axes", records: dict[RunKey, TrialRecord]) -> None:
    keys = numbered(records, HELD)
    found = [(k, known) for k, key in enumerate(keys) if (known := series(records, key)) is not None]
    epochs = sorted(set.intersection(*(set(known.epochs.tolist()) for _, known in found)))
    shares = np.array([100.0 * known.mean[np.isin(known.epochs, epochs)] for _, known in found])
    colours = [COLOURS[k % len(COLOURS)] for k, _ in found]
    areas = axes.stackplot(epochs, shares, colors=colours, alpha=0.75, edgecolor="white", linewidth=0.8)
    for area, (k, _) in zip(areas, found, strict=True):
        area.set_hatch(_HATCHES[k % len(_HATCHES)])
    initial = initial_levels(records, len(keys))
    said = None if initial is None else tell_apart(initial, describe_value)
    tops = np.cumsum(shares, axis=0)
    for (k, _), share, top in zip(found, shares, tops, strict=True):
        place = int(np.argmax(share))
        if share[place] >= _THIN:
            name = said[k] if said is not None else f"level {k}"
            _name_area(axes, epochs, place, top[place] - share[place] / 2, name.replace("-", "\N{MINUS SIGN}"))
    axes.set_ylim(0, 100)
    axes.set_xlim(epochs[0], epochs[-1])
    axes.grid(visible=False)


def _name_area(axes: "Axes", epochs: list[int], place: int, height: float, name: str) -> None:
    """Write the `name` of a level into its area on `axes`, at the epoch `epochs[place]` and the `height` in percent."""
    side = "left" if place == 0 else "right" if place == len(epochs) - 1 else "center"
    box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    shift = {"left": 4, "right": -4, "center": 0}[side]
    axes.annotate(
        name,
        (epochs[place], height),
        (shift, 0),
        textcoords="offset points",
        ha=side,
        va="center",
        fontsize=9,
        bbox=box,
    )


def _row_panels(
    rows: Sequence[Row],
    draw: "Callable[[Axes, dict[RunKey, TrialRecord]], None]",
    height: float,
    x_label: str,
    y_label: str,
) -> "Figure":
    """Return a figure with a panel for each of `rows`. `draw` gets the panel's axes and the row's records by seed.

    A panel is `height` inches high. `x_label` and `y_label` are the labels of the axes.
    """
    figure, panels = panel_grid(len(rows), height)
    for axes, row in zip(panels, rows, strict=True):
        draw(axes, row.records)
        axes.set_title(label(row, TITLE_WIDTH))
        whole_epochs(axes)
    figure.supxlabel(x_label, fontsize=10)
    figure.supylabel(y_label, fontsize=10)
    return figure
