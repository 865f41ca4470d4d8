"""Plot the class centres (mean embeddings) of the test classes in the plane by scikit-learn's t-SNE, for some rows.

t-SNE keeps neighbouring centres together. Source: van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 2008.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.names import split_of
from mdr_tune.report.plots.drawing import Drawing, panel_grid
from mdr_tune.report.plots.shown_rows import best_and_baselines, best_in_words, label
from mdr_tune.report.rows import AblationTable, Row, RunKey, said_key
from mdr_tune.report.style import BLUE, COLOURS, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS = 3
FEWEST_CLASSES = 8
MOST_CLASSES = 1000
"""Largest number of classes in a panel. Of more classes, a random choice is drawn: t-SNE of 10,000 classes takes
minutes, and their points would merge into one spot."""
EXACT_UP_TO = 100
"""Largest number of classes that are placed by exact t-SNE. From there on, Barnes and Hut's approximation is faster: a
third of the time for 485 classes."""
SEED = 0


def class_centres(evidence: SweepEvidence, table: AblationTable) -> Drawing | None:
    """Draw the class centres of the best row of `table` with MDR and of its baselines, all of the same seed.

    The centres are recorded in `evidence`. None if the rows share fewer than `FEWEST_CLASSES` classes.
    """
    rows = best_and_baselines(table, lambda row: bool(_seeds(evidence, row)), MOST_PANELS)
    if not rows:
        return None
    common = set.intersection(*[_seeds(evidence, row) for row in rows])
    if not common:
        rows, common = rows[-1:], _seeds(evidence, rows[-1])
    seed = next(key for key in rows[0].seeds if key in common)
    details = [evidence.details[row.records[seed].name] for row in rows]
    classes = shared_classes(details)
    if len(classes) < FEWEST_CLASSES:
        return None
    figure, panels = panel_grid(len(rows), height=2.9, share_y=False)
    centres = [found.centres[np.isin(found.centre_labels, classes)] for found in details]
    for axes, row, places in zip(panels, rows, project_each(centres), strict=True):
        _panel(axes, places)
        axes.set_title(label(row, 26))
    total = max(len(found.centre_labels) for found in details)
    split = split_of(table.metric)
    number = f"{len(classes)}{'' if len(classes) == total else f' of {total}'} {split} classes"
    names = ", ".join(row.records[seed].name for row in rows)
    colours = " A class has the same colour and shape in all panels." if _told_apart(len(classes)) else ""
    chosen = best_in_words(table, rows)
    of_seed = "" if table.is_evaluation else f", {said_key(seed)} of each row ({names})"
    caption = (
        f"t-SNE of the mean embeddings of {number}{of_seed}.{chosen}{colours} "
        "Near points are alike; the axes have no unit, and sizes of gaps and groups mean nothing."
    )
    return Drawing(figure, "Class centres", caption)


def shared_classes(details: list[TestDetails]) -> np.ndarray:
    """Return the classes that all `details` share, (C,), ascending; a random choice if more than `MOST_CLASSES`."""
    common = details[0].centre_labels
    for found in details[1:]:
        common = np.intersect1d(common, found.centre_labels)
    if len(common) <= MOST_CLASSES:
        return common
    return np.sort(np.random.default_rng(SEED).choice(common, MOST_CLASSES, replace=False))


def project_each(centres: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return `project` of each array in `centres`, computed side by side."""
    with ThreadPoolExecutor(len(centres), "t-sne") as pool:
        return list(pool.map(project, centres))


def project(centres: np.ndarray) -> np.ndarray:
    """Return the positions of `centres` by t-SNE, (C, D) -> (C, 2). The same centres get the same positions.

    The calling thread computes alone: by default scikit-learn uses a thread for each core, which on a busy machine
    takes several times as long.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # after scikit-learn has loaded its libraries

    perplexity = min(30.0, (len(centres) - 1) / 3)
    method = "exact" if len(centres) <= EXACT_UP_TO else "barnes_hut"
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=SEED, method=method)
    with threadpool_limits(1, "openmp"):  # a limit of this thread
        return np.asarray(tsne.fit_transform(centres))


def _seeds(evidence: SweepEvidence, row: Row) -> set[RunKey]:
    """Return the seeds of `row` whose class centres, recorded in `evidence`, t-SNE can place in a plane."""
    return {
        seed
        for seed in row.seeds
        if (found := evidence.details.get(row.records[seed].name)) is not None
        and len(found.centres) >= FEWEST_CLASSES
        and found.centres.shape[1] >= 2
        and np.isfinite(found.centres).all()
        and float(np.ptp(found.centres)) > 0
    }


def _told_apart(classes: int) -> bool:
    return classes <= len(COLOURS) * len(MARKERS)


def _panel(axes: "Axes", places: np.ndarray) -> None:
    if _told_apart(len(places)):
        for i, (x, y) in enumerate(places):
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            axes.plot([x], [y], marker=marker, color=colour, markersize=6, alpha=0.85, linestyle="none")
    else:
        axes.plot(*places.T, marker="o", color=BLUE, markersize=3, alpha=0.6, linestyle="none")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
