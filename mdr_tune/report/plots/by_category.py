"""The table's metric of rows that no number orders: points with intervals, baselines beside MDR."""

import textwrap
from collections.abc import Sequence

from mdr_tune.report.ablation_table import AblationTable, TableRow
from mdr_tune.report.output.texts import full_title
from mdr_tune.report.plots.drawing import Drawing, new_figure
from mdr_tune.report.plots.error_bars import draw_estimates, within_percent
from mdr_tune.report.plots.rows import (
    MOST_LINES,
    few,
    has_mdr,
    intervals_in_words,
    method_looks,
    of_all,
    sentence_start,
)
from mdr_tune.report.row_settings import WITH_MDR
from mdr_tune.report.style import BLUE, DASHES, GREY, VERMILLION, Look

MOST_ROWS = 30
MOST_METHODS = 4
"""Up to this many each has its own look; more are told by their names, and look as with or without MDR."""
NOTHING_VARIED = "as in the file"
WITHOUT = "no MDR"


def points_by_category(table: AblationTable, rows: Sequence[TableRow]) -> Drawing:
    """Draw each row's estimate and the values of its seeds, in groups of one setting (or one loss)."""
    shown = few(table, MOST_ROWS, lambda row: row in rows)
    looks = _looks(table)
    groups: dict[str, list[TableRow]] = {}
    for row in shown:
        groups.setdefault(group_name(table, row), []).append(row)
    figure = new_figure(1.3 + 0.3 * len(shown) + 0.22 * len(groups))
    axes = figure.subplots()
    place, ticks = 0.0, []
    named: set[str] = set()
    for of_group in groups.values():
        places = [place + i for i in range(len(of_group))]
        for at, row in zip(places, of_group, strict=True):
            name, look = looks[row.method]
            estimate = row.estimates[table.metric]
            seeds = list(estimate.values.values())
            axes.plot(seeds, [at] * len(seeds), linestyle="none", marker="|", markersize=8, color=GREY, zorder=1)
            draw_estimates(axes, [at], [estimate], look, "_" if name in named else name, across=True)
            named.add(name)
        ticks.append((places[0] + places[-1]) / 2)
        place = places[-1] + 1.7
        axes.axhline(place - 0.85, color="#e4e4e4", linewidth=0.8)
    axes.set_yticks(ticks, [_wrapped(name) for name in groups])
    axes.set_ylim(place - 0.85, -0.85)
    axes.set_xlabel(f"{full_title(table.metric)}, %")
    axes.grid(axis="y", visible=False)
    within_percent(axes, "x")
    figure.legend(loc="outside upper center", ncols=3)
    words = intervals_in_words([row.estimates[table.metric] for row in shown])
    strokes = " Grey strokes are single seeds." if any(row.estimates[table.metric].values for row in shown) else ""
    caption = f"{sentence_start(full_title(table.metric))} of each row, in the mean. {words}{strokes}"
    title = f"{sentence_start(full_title(table.metric))} by setting"
    return Drawing(figure, title, caption + of_all(shown, table, lambda row: row in rows))


def group_name(table: AblationTable, row: TableRow) -> str:
    """Return under which name a row stands: its setting; its loss where there are many, and with it if both vary."""
    base = row.method.removesuffix(WITH_MDR)
    several_settings = len({other.setting for other in table.rows}) > 1
    if not several_settings:
        return base
    alone = not any(has_mdr(other) for other in table.rows if other.setting == row.setting)
    setting = row.setting or (WITHOUT if alone else NOTHING_VARIED)
    return setting if _few_methods(table) else f"{base}, {setting}"


def _wrapped(name: str) -> str:
    return textwrap.fill(name, 24, max_lines=MOST_LINES, placeholder=" \N{HORIZONTAL ELLIPSIS}")


def _few_methods(table: AblationTable) -> bool:
    return len({row.method for row in table.rows}) <= MOST_METHODS and len({row.setting for row in table.rows}) > 1


def _looks(table: AblationTable) -> dict[str, tuple[str, Look]]:
    """Return the name in the legend and the look of each method."""
    if _few_methods(table):
        return {method: (method, look) for method, look in method_looks(table).items()}
    with_mdr, without = Look(BLUE, "o", "-", True), Look(VERMILLION, "s", DASHES[0], False)
    return {row.method: ("with MDR", with_mdr) if has_mdr(row) else ("without MDR", without) for row in table.rows}
