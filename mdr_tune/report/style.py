"""The style of all figures: one font, colours that colour-blind readers can distinguish, and reproducible files.

Nothing is shown by colour alone: lines also differ in their dashes, and points in their shapes.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, "#000000")
"""Colours of Okabe and Ito, Color Universal Design, 2008, without their yellow, which cannot be seen on white."""
GREY = "#888888"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ((0, (4, 1.6)), (0, (1.2, 1.4)), (0, (5, 1.4, 1.2, 1.4)), (0, (2.5, 1.2)))
"""Line styles of methods without MDR; lines with MDR are solid."""
WIDTH = 7.5
"""Width of a figure, in inches. Its text of at least 9 points can be read if the figure is as wide as a page."""
DPI = 150

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#222222",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e4e4e4",
    "text.color": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "legend.frameon": False,
}
_PLOTS: Any = {
    **STYLE,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.titlesize": 10,
    "svg.fonttype": "path",  # a page's reader may not have the font
    "svg.hashsalt": "mdr_tune",  # the same ids each time
    "image.composite_image": False,
}


@dataclass(frozen=True)
class Look:
    """The look of a row or a method in every figure of a report.

    `marker` and `dash` are the shape of points and the style of lines, as Matplotlib names them. `filled` says whether
    the points are filled, as for rows with MDR.
    """

    colour: str
    marker: str
    dash: Any
    filled: bool

    def line(self) -> dict[str, Any]:
        """Return Matplotlib's arguments for a line without points."""
        return {"color": self.colour, "linestyle": self.dash, "linewidth": 1.6}

    def points(self) -> dict[str, Any]:
        """Return Matplotlib's arguments for points."""
        face = self.colour if self.filled else "white"
        return {"marker": self.marker, "markersize": 6, "markerfacecolor": face, "markeredgecolor": self.colour}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Use the reports' style for figures drawn within the block, and restore Matplotlib's settings afterwards."""
    import matplotlib

    with matplotlib.rc_context(_PLOTS):
        yield


@contextlib.contextmanager
def optuna_pyplot() -> Iterator[Any]:
    """Yield pyplot, which draws without a screen, and Optuna's plots in `STYLE`. All figures are closed at the end."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    styles: Any = matplotlib.style.library
    theirs = styles["ggplot"]
    with warnings.catch_warnings(), plt.rc_context(STYLE):
        warnings.simplefilter("ignore")  # Optuna says that its plots are experimental
        styles["ggplot"] = STYLE  # Optuna's plots ask for this style by name
        try:
            yield plt
        finally:
            styles["ggplot"] = theirs
            plt.close("all")


def save(figure: Any, folder: Path, name: str) -> tuple[Path, Path]:
    """Write `figure` as `name.png` and `name.svg` into `folder` and return both. The same figure gives the same bytes.

    The SVG begins with its root element, without XML declaration and DTD, so that a page can hold it unchanged.
    """
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    buffer = io.StringIO()
    with styled():
        figure.savefig(png, dpi=DPI)
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    svg.write_text(text[text.index("<svg") :], encoding="utf-8")
    return png, svg
