"""Where MDR's levels begin, and where training takes them."""

from typing import TYPE_CHECKING

import numpy as np

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.report.ablation_table import AblationTable, TableRow
from mdr_tune.report.plots.drawing import Drawing
from mdr_tune.report.plots.row_panels import row_panels
from mdr_tune.report.plots.rows import completed, few, has_mdr, of_all, seeds_in_words
from mdr_tune.report.plots.series import Series, numbered, series
from mdr_tune.report.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS = 6
LEVEL = "mdr/level_"


def level_trajectories(evidence: SweepEvidence, table: AblationTable) -> Drawing | None:
    """Draw the levels of the rows with MDR over the epochs, a panel a row; None if no levels are recorded."""

    def usable(row: TableRow) -> bool:
        return has_mdr(row) and bool(numbered(completed(evidence, row), LEVEL))

    rows = few(table, MOST_PANELS, usable)
    if not rows:
        return None
    figure = row_panels(evidence, rows, _panel, 2.5, "epoch (0: before training)", "level, in standard deviations")
    seeds = seeds_in_words(len(row.seeds) for row in rows)
    lines = f"; thin lines are seeds, thick lines their mean ({seeds})" if any(len(r.seeds) > 1 for r in rows) else ""
    return Drawing(
        figure,
        "Levels over the training",
        "MDR's levels from their initial values (squares, dotted lines) over the epochs"
        f"{lines}.{of_all(rows, table, has_mdr)}",
    )


def initial_levels(records: dict[int, TrialRecord], count: int) -> list[float] | None:
    """Return the levels before training, the mean over the seeds; None if the configuration does not say them."""
    found = [(record.config.get("mdr") or {}).get("levels") for record in records.values()]
    if not all(isinstance(levels, list | tuple) and len(levels) == count for levels in found):
        return None
    return [float(level) for level in np.mean(np.array(found, dtype=float), axis=0)]


def _panel(axes: "Axes", records: dict[int, TrialRecord]) -> None:
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
