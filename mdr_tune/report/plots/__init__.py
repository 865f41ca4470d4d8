"""The figures of a report, one a file: each takes what was recorded, and gives a drawing, or None without its data."""

from mdr_tune.report.plots.all_figures import FIGURES, draw
from mdr_tune.report.plots.drawing import Drawing, ReportFigure

__all__ = ["FIGURES", "Drawing", "ReportFigure", "draw"]
