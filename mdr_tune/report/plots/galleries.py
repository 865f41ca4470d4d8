"""Show the best and the worst queries, each with its nearest images: what retrieval gets right and wrong."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from mdr_tune.records.query_details import ShownImage, ShownQuery
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.names import split_of
from mdr_tune.report.plots.drawing import Drawing, new_figure
from mdr_tune.report.plots.shown_rows import best_and_baselines, best_in_words, label
from mdr_tune.report.rows import AblationTable, Row, RunKey, said_key
from mdr_tune.report.style import GREEN, VERMILLION, WIDTH
from mdr_tune.util.words import some

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS, MOST_QUERIES, MOST_NEIGHBOURS = 3, 4, 8
MOST_QUERIES_IN_ALL = 9
_GAP, _QUERY_GAP, _HEAD = 0.16, 0.35, 0.4
"""Gap between pictures, additional gap after the query, and height of the heading, in widths of a picture."""
_LINE = 1.0 + 2.4 * _GAP
"""Distance from the top of one query to the top of the next, in widths of a picture."""
_LARGEST = 0.8
"""Largest width of a picture, in inches."""
MOST_NAMED = 6
"""Largest number of left-out methods that the caption names. Further methods are only counted."""
RIGHT, WRONG = "\N{CHECK MARK}", "\N{BALLOT X}"


def gallery_best(evidence: SweepEvidence, table: AblationTable) -> Drawing | None:
    """Draw queries with the highest average precision, of the best row and its baselines; None without pictures."""
    return _gallery(evidence, table, "best")


def gallery_worst(evidence: SweepEvidence, table: AblationTable) -> Drawing | None:
    """Draw queries with the lowest average precision, of the best row and its baselines; None without pictures."""
    return _gallery(evidence, table, "worst")


def shown_queries(
    evidence: SweepEvidence, row: Row, kind: Literal["best", "worst"]
) -> tuple[RunKey, list[ShownQuery]] | None:
    """Return a training seed of `row`, and its best or worst queries (`kind`) with their pictures from `evidence`.

    The lowest seed that has such queries is taken. None if no seed has any.
    """
    for seed in row.seeds:
        details = evidence.details.get(row.records[seed].name)
        found = [query for query in details.shown if query.kind == kind] if details else []
        if found:
            return seed, found[:MOST_QUERIES]
    return None


def _gallery(evidence: SweepEvidence, table: AblationTable, kind: Literal["best", "worst"]) -> Drawing | None:
    rows = best_and_baselines(table, lambda row: shown_queries(evidence, row, kind) is not None, most=MOST_ROWS)
    ordered = [*rows[-1:], *rows[:-1]]
    blocks = [(row, found) for row in ordered if (found := shown_queries(evidence, row, kind)) is not None]
    if not blocks:
        return None
    most = min(MOST_QUERIES_IN_ALL // len(blocks), *(len(queries) for _, (_, queries) in blocks))
    blocks = [(row, (seed, queries[:most])) for row, (seed, queries) in blocks]
    columns = 1 + max(min(len(q.neighbours), MOST_NEIGHBOURS) for _, (_, queries) in blocks for q in queries)
    width = max(columns * (1 + _GAP) + _QUERY_GAP, WIDTH / _LARGEST)
    heights = [_HEAD + len(queries) * _LINE for _, (_, queries) in blocks]
    figure = new_figure(WIDTH / (width + 0.2) * sum(heights) + 0.35 * len(blocks))
    panels = figure.subplots(len(blocks), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (row, (seed, queries)), height in zip(panels, blocks, heights, strict=True):
        of_seed = "" if table.is_evaluation else f" ({row.records[seed].name}, {said_key(seed)})"
        axes.set_title(f"{label(row, 60)}{of_seed}", loc="left")
        _block(axes, queries)
        axes.set_xlim(-0.1, width - _GAP + 0.1)
        axes.set_ylim(height, 0)
        axes.set_aspect("equal")
        axes.set_axis_off()
    extreme = "highest" if kind == "best" else "lowest"
    one_seed = "" if table.is_evaluation else ", one seed of each row"
    caption = (
        f"Queries of the {split_of(table.metric)} classes with the {extreme} average precision (AP, at R) and their "
        f"nearest images from left to right{one_seed}. The queries are each row's own: images below each other need "
        "not be the same. A whole frame and a tick: the same class; a dashed frame and a cross: another."
        f"{best_in_words(table, rows)}{_left_out(table, rows)}"
    )
    return Drawing(figure, f"{kind.capitalize()} queries", caption)


def _left_out(table: AblationTable, shown: list[Row]) -> str:
    """Return a sentence that names the methods of `table` that no row in `shown` has; empty if there are none."""
    methods = [row.method for row in shown]
    left = [method for method in dict.fromkeys(row.method for row in table.rows) if method not in methods]
    if not left:
        return ""
    return f" Left out: {some(left, MOST_NAMED)}."


def _block(axes: "Axes", queries: list[ShownQuery]) -> None:
    axes.text(0.5, _HEAD * 0.55, "query", ha="center", va="center", fontsize=9)
    axes.text(1 + _GAP + _QUERY_GAP, _HEAD * 0.55, "nearest first", ha="left", va="center", fontsize=9)
    for line, query in enumerate(queries):
        top = _HEAD + line * _LINE
        _picture(axes, query.image, 0.0, top, None)
        axes.text(0.5, top + 1.03, f"AP {100 * query.score:.0f} %", ha="center", va="top", fontsize=9)
        for i, neighbour in enumerate(query.neighbours[:MOST_NEIGHBOURS]):
            left = (1 + _GAP) * (i + 1) + _QUERY_GAP
            _picture(axes, neighbour, left, top, neighbour.label == query.image.label)


def _picture(axes: "Axes", image: ShownImage, left: float, top: float, correct: bool | None) -> None:
    """Draw `image` on `axes`, one unit wide and high, in a frame. Its upper left corner is (`left`, `top`).

    `correct` says whether `image` is of the query's class; None for the query itself.
    """
    from matplotlib.patches import Rectangle

    pixels = np.moveaxis(image.pixels, 0, -1)
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    axes.imshow(pixels, extent=(left, left + 1, top + 1, top), interpolation="none")
    colour = "#222222" if correct is None else GREEN if correct else VERMILLION
    width = 1 if correct is None else 2.2
    frame = Rectangle((left, top), 1, 1, fill=False, edgecolor=colour, linewidth=width, linestyle=_dash(correct))
    axes.add_patch(frame)
    if correct is not None:
        box = {"boxstyle": "circle,pad=0.1", "facecolor": "white", "edgecolor": colour, "linewidth": 1}
        mark = RIGHT if correct else WRONG
        axes.text(left + 0.9, top + 0.9, mark, color=colour, ha="center", va="center", fontsize=9, bbox=box)


def _dash(correct: bool | None) -> str | tuple[int, tuple[float, float]]:
    return (0, (2.2, 1.2)) if correct is False else "-"
