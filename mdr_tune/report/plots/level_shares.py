"""How many of a batch's pairs each of MDR's levels holds: those whose distance is nearest to it."""

from typing import TYPE_CHECKING

import numpy as np

from mdr_tune.config.domains import describe_value, tell_apart
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.report.ablation_table import AblationTable, TableRow
from mdr_tune.report.plots.drawing import Drawing
from mdr_tune.report.plots.level_trajectories import MOST_PANELS, initial_levels
from mdr_tune.report.plots.row_panels import row_panels
from mdr_tune.report.plots.rows import completed, few, has_mdr, of_all, seeds_in_words
from mdr_tune.report.plots.series import numbered, series
from mdr_tune.report.row_settings import SETTING_DIGITS
from mdr_tune.report.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HELD = "mdr/held_"
_HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++")
_THIN = 7.0
"""Percent; an area that is thinner has no room for its name."""


def level_shares(evidence: SweepEvidence, table: AblationTable) -> Drawing | None:
    """Draw the shares over the epochs as stacked areas, a panel a row with MDR; None without two epochs of them."""

    def usable(row: TableRow) -> bool:
        keys = numbered(completed(evidence, row), HELD) if has_mdr(row) else []
        known = series(completed(evidence, row), keys[0]) if keys else None
        return known is not None and len(known.epochs) > 1

    rows = few(table, MOST_PANELS, usable)
    if not rows:
        return None
    figure = row_panels(evidence, rows, _panel, 2.4, "epoch", "share of the pairs, %")
    seeds = seeds_in_words(len(row.seeds) for row in rows)
    return Drawing(
        figure,
        "Pairs that each level holds",
        "Share of the pairs whose normalised distance is nearest to each level, from the first level at the bottom to "
        f"the last at the top, in the mean of {seeds} a row; numbers are the levels' initial values."
        f"{of_all(rows, table, has_mdr)}",
    )


def _panel(axes: "Axes", records: dict[int, TrialRecord]) -> None:
    keys = numbered(records, HELD)
    found = [(k, known) for k, key in enumerate(keys) if (known := series(records, key)) is not None]
    epochs = sorted(set.intersection(*(set(known.epochs.tolist()) for _, known in found)))
    shares = np.array([100.0 * known.mean[np.isin(known.epochs, epochs)] for _, known in found])
    colours = [COLOURS[k % len(COLOURS)] for k, _ in found]
    areas = axes.stackplot(epochs, shares, colors=colours, alpha=0.75, edgecolor="white", linewidth=0.8)
    for area, (k, _) in zip(areas, found, strict=True):
        area.set_hatch(_HATCHES[k % len(_HATCHES)])
    initial = initial_levels(records, len(keys))
    said = None if initial is None else tell_apart(initial, describe_value, SETTING_DIGITS)
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
    """Write a level's name where its area is widest, within the panel."""
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
