"""The data of a figure in memory and in files, and the parts that several figures share: panels, error bars, axes."""

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
    """A figure in memory.

    Attributes:
        figure: Matplotlib's figure.
        title: Heading of a few words.
        caption: One to three sentences that say what is shown, for which trials, and for how many seeds or queries.
    """

    figure: "Figure"
    title: str
    caption: str


@dataclass(frozen=True)
class ReportFigure:
    """A figure in files.

    Attributes:
        name: Name of the files without their ending, unique among the figures of a sweep.
        title: Heading of a few words.
        caption: Caption of the `Drawing`. It is also the text for readers who cannot see the figure.
        png: PNG file, at 150 dots an inch.
        svg: SVG file. Its text is drawn as paths, and it refers to no other file.
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
    """Return a figure with `panels` panels in rows of up to three, and their axes. A panel is `height` inches high.

    Four panels are in two rows of two. All panels share the x axis. Its numbers are only below the lowest panel of each
    column.
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
    """Return the height in inches of a legend with two columns. The first column is filled before the second."""
    rows = -(-len(labels) // 2)
    lines = [1 + label.count("\n") for label in labels]
    return max(0.15 * sum(column) + 0.08 * len(column) for column in (lines[:rows], lines[rows:]))


def whole_epochs(axes: "Axes") -> None:
    """Label only whole epochs on the x axis."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def lengths(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Return how far each interval reaches below and above its mean, (2, n). Without an interval, both are 0."""
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
    """Draw means as points, and their intervals as bars.

    Args:
        axes: Axes to draw on.
        places: Positions of the points on the x axis.
        estimates: Mean and interval of each point.
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
    """Limit an axis of percentages to 0 and just above 100.

    Intervals over few seeds can reach beyond the possible values.
    """
    low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
    limits = (max(low, 0.0), min(high, 100.5))
    if axis == "x":
        axes.set_xlim(*limits)
    else:
        axes.set_ylim(*limits)
