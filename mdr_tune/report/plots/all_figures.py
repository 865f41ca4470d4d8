"""Draw all figures of a report into a folder."""

from collections.abc import Callable
from pathlib import Path

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.plots.by_setting import by_setting
from mdr_tune.report.plots.class_centres import class_centres
from mdr_tune.report.plots.differences import differences
from mdr_tune.report.plots.distances import distances
from mdr_tune.report.plots.drawing import Drawing, ReportFigure
from mdr_tune.report.plots.galleries import gallery_best, gallery_worst
from mdr_tune.report.plots.learning_curves import learning_curves
from mdr_tune.report.plots.levels import level_shares, level_trajectories
from mdr_tune.report.plots.recall_at_k import recall_at_k
from mdr_tune.report.rows import AblationTable
from mdr_tune.report.style import save, styled

FIGURES: dict[str, Callable[[SweepEvidence, AblationTable], Drawing | None]] = {
    "by_setting": by_setting,
    "differences": differences,
    "recall_at_k": recall_at_k,
    "learning_curves": learning_curves,
    "level_trajectories": level_trajectories,
    "level_shares": level_shares,
    "distances": distances,
    "class_centres": class_centres,
    "gallery_best": gallery_best,
    "gallery_worst": gallery_worst,
}
"""Function that draws each figure, by file name, in the order of the report: results, then explanations of them."""


EVALUATED = ("recall_at_k", "class_centres", "gallery_best", "gallery_worst")
"""Names of the figures of an evaluation of models."""


def draw(evidence: SweepEvidence, table: AblationTable, folder: Path) -> list[ReportFigure]:
    """Draw all figures of a launch as PNG and SVG into `folder`, which is made if need be, and return the figures.

    `evidence` has the launch's records, `table` its table. A figure whose data are missing is left out, and of an
    evaluation all but those in `EVALUATED`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, plot in FIGURES.items():
        if table.is_evaluation and name not in EVALUATED:
            continue
        with styled():
            drawing = plot(evidence, table)
        if drawing is not None:
            png, svg = save(drawing.figure, folder, name)
            found.append(ReportFigure(name, drawing.title, drawing.caption, png, svg))
    return found
