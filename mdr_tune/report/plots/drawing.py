"""The classes of a figure in memory and in files, and code that several figures share: panels, error bars, axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdr_tune.report.rows import Estimate
from mdr_tune.report.style import WIDTH, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure in memory, with a heading of a few words.

    `caption` says in one to three sentences what is shown, for which trials, and for how many seeds or queries.
    """

    figure: "Figure"
    title: str
    caption: str


@dataclass(frozen=True)
class ReportFigure:
    """A figure in files: a PNG at 150 dots an inch, and an SVG that draws text as paths and refers to no other file.

    `name` is the files' name without an ending. `caption` is also the text for readers who cannot see the figure.
    """

    name: str
    title: str
    caption: str
    png: Path
    svg: Path


def new_figure(height: float) -> "Figure":
    """Return an empty figure of the reports' width that is `height` inches high. Its layout is automatic."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def panel_grid(panels: int, height: float, share_y: bool = True) -> tuple["Figure", list["Axes"]]:
    """Return a figure with `panels` panels, each `height` inches high, and their axes.

    A line has up to three panels; four panels are in two lines of two. All panels share the x axis, and with `share_y`
    also the y axis.
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
    """Return the height in inches of a legend of `labels` in two columns. The first column is filled first."""
    rows = -(-len(labels) // 2)
    lines = [1 + label.count("\n") for label in labels]
    return max(0.15 * sum(column) + 0.08 * len(column) for column in (lines[:rows], lines[rows:]))


def whole_epochs(axes: "Axes") -> None:
    """Label only whole epochs on the x axis of `axes`."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def lengths(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Return how far the intervals of n `estimates` reach below and above the means, (2, n); 0 without an interval."""
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
    """Draw the means of `estimates` on `axes` as points, and their intervals as bars.

    Args:
        places: Positions of the points on the x axis.
        look: Colour, shape and line style of the points.
        name: Name in the legend.
        line: Whether a line joins the points.
        across: Whether the intervals are drawn along the x axis. `places` are then positions on the y axis.
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
    """Limit the `axis` (`x` or `y`) of `axes` to the range 0 to 100.5 percent, because intervals can reach further."""
    low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
    limits = (max(low, 0.0), min(high, 100.5))
    if axis == "x":
        axes.set_xlim(*limits)
    else:
        axes.set_ylim(*limits)
