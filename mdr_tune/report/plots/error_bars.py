"""Means with their intervals, drawn alike in all figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mdr_tune.report.rows import Estimate
from mdr_tune.report.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
