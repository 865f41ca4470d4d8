"""A figure with a small panel for each of some rows, over the epochs."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.report.ablation_table import TableRow
from mdr_tune.report.plots.drawing import panel_grid, whole_epochs
from mdr_tune.report.plots.rows import completed, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE_WIDTH = 28


def row_panels(
    evidence: SweepEvidence,
    rows: Sequence[TableRow],
    draw: "Callable[[Axes, dict[int, TrialRecord]], None]",
    height: float,
    x_label: str,
    y_label: str,
) -> "Figure":
    """Return the figure, each panel drawn from the trials of its row that ran to their end, by seed.

    Args:
        height: Of a panel, in inches.
    """
    figure, panels = panel_grid(len(rows), height)
    for axes, row in zip(panels, rows, strict=True):
        draw(axes, completed(evidence, row))
        axes.set_title(label(row, TITLE_WIDTH))
    for axes in panels:
        whole_epochs(axes)
    figure.supxlabel(x_label, fontsize=10)
    figure.supylabel(y_label, fontsize=10)
    return figure
