"""What a figure is, before and after it is written, and the grid of small panels that several figures are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdr_tune.report.style import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
