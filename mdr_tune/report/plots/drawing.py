"""What a figure is, before and after it is written; and what several figures are made of: small panels, error bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdr_tune.report.style import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
from typing import TYPE_CHECKING, Any

from mdr_tune.report.rows import Estimate
from mdr_tune.report.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Drawing:
    """A figure in memory.

    Attributes:
        figure: Matplotlib's.
        title: A heading, a few words.
        caption: What is seen, of which trials, with which n: one to three sentences.
    """

    figure: "Figure"
    title: str
    caption: str


@dataclass(frozen=True)
class ReportFigure:
    """A figure in files.

    Attributes:
        name: Of the files, less their ending; unique in a report.
        title: A heading, a few words.
        caption: What is seen, of which trials, with which n; the text for those who cannot see it too.
        png: At 150 dots an inch.
        svg: With its text as paths; nothing in it refers to another file.
    """

    name: str
    title: str
    caption: str
    png: Path
    svg: Path


def new_figure(height: float) -> "Figure":
    """Return an empty figure of the reports' width, `height` inches high, that lays itself out."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def panel_grid(panels: int, height: float, share_y: bool = True) -> tuple["Figure", list["Axes"]]:
    """Return a figure with `panels` axes in rows of three, each `height` inches high.

    Four are two by two. The x axis is shared, and numbered below the lowest panel of each column.
    """
    columns = 2 if panels == 4 else min(panels, 3)
    rows = -(-panels // columns)
    figure = new_figure(height * rows + 0.4)
    grid = figure.subplots(rows, columns, sharex=True, sharey=share_y, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[panels:]:
        unused.remove()
    for lowest in axes[max(0, panels - columns) : panels]:
        lowest.tick_params(labelbottom=True)
    return figure, axes[:panels]


def legend_height(labels: Sequence[str]) -> float:
    """Return the height in inches of a legend in two columns, which are filled one after the other."""
    rows = -(-len(labels) // 2)
    lines = [1 + label.count("\n") for label in labels]
    return max(0.15 * sum(column) + 0.08 * len(column) for column in (lines[:rows], lines[rows:]))


def whole_epochs(axes: "Axes") -> None:
    """Number whole epochs alone along the x axis."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def lengths(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Return how far each interval goes below and above its mean; 0 where there is none; (2, n)."""
    below = [0.0 if e.low is None else e.mean - e.low for e in estimates]
    above = [0.0 if e.high is None else e.high - e.mean for e in estimates]
    return [below, above]


def draw_estimates(
    axes: "Axes",
    places: Sequence[float],
    estimates: Sequence[Estimate],
    look: Look,
    name: str,
    line: bool = False,
    across: bool = False,
) -> None:
    """Draw means as points with their intervals as bars.

    Args:
        places: Of the points, on the x axis.
        name: For the legend.
        line: Whether a line joins the points.
        across: The intervals lie along the x axis, and `places` on the y axis.
    """
    style: dict[str, Any] = look.line() | look.points() | {"capsize": 3, "elinewidth": 1.3, "label": name}
    if not line:
        style["linestyle"] = "none"
    means, errors = [e.mean for e in estimates], lengths(estimates)
    if across:
        axes.errorbar(means, list(places), xerr=errors, **style)
    else:
        axes.errorbar(list(places), means, yerr=errors, **style)


def within_percent(axes: "Axes", axis: str) -> None:
    """Cut an axis of percent at 0 and 100: intervals of few seeds reach beyond what can be."""
    low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
    limits = (max(low, 0.0), min(high, 100.5))
    if axis == "x":
        axes.set_xlim(*limits)
    else:
        axes.set_ylim(*limits)
