"""Plot the table's metric over the setting that varies: as lines if it is a number, otherwise as groups of points."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mdr_tune.config.domains import describe_value, tell_apart
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.names import full_title, short_names
from mdr_tune.report.plots.drawing import Drawing, draw_estimates, new_figure, within_percent
from mdr_tune.report.plots.shown_rows import (
    MOST_LINES,
    few,
    intervals_in_words,
    method_looks,
    of_all,
    sentence_start,
)
from mdr_tune.report.row_settings import SETTING_DIGITS
from mdr_tune.report.rows import AblationTable, Row
from mdr_tune.report.style import BLUE, DASHES, GREY, VERMILLION, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG_RATIO = 8.0
"""Ratio of the largest to the smallest value from which on the axis is logarithmic."""

_APART = 0.012
"""Distance between the points of two methods at the same value, as a share of the axis."""
MOST_ROWS = 30
MOST_METHODS = 4
"""Largest number of methods that each have a look of their own.

With more methods, the look only shows whether a method has MDR, and the labels of the groups name the losses.
"""
NOTHING_VARIED = "as in the file"
WITHOUT = "no MDR"


def by_setting(_evidence: SweepEvidence, table: AblationTable) -> Drawing | None:
    """Draw the metric of `table` over the settings of its rows; None if fewer than two rows have a value."""
    rows = [row for row in table.rows if table.metric in row.estimates]
    if len(rows) < 2:
        return None
    key = number_varied(rows)
    return _points(table, rows) if key is None else _lines(table, rows, key)


def number_of(row: Row, key: str) -> float | None:
    """Return the value of the parameter `key` in `row` if it is a number; None otherwise."""
    value = row.values.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def number_varied(rows: Sequence[Row]) -> str | None:
    """Return the dotted key of the parameter over which `rows` can be drawn as lines; None if there is none.

    The values of such a parameter are numbers, no method has two rows with the same number, and some method has at
    least two numbers. Of several such parameters, the one with the most numbers in a single method is returned.
    """

    def values(key: str, method: str) -> list[float]:
        found = [number_of(row, key) for row in rows if row.method == method]
        return [value for value in found if value is not None]

    methods = {row.method for row in rows}
    keys = dict.fromkeys(key for row in rows for key in row.values)
    lines = {key: [values(key, method) for method in methods] for key in keys}
    lines = {key: found for key, found in lines.items() if all(len(set(line)) == len(line) for line in found)}
    sizes = {key: max(map(len, found)) for key, found in lines.items()}
    return max((key for key, size in sizes.items() if size > 1), key=lambda key: sizes[key], default=None)


def _lines(table: AblationTable, rows: list[Row], key: str) -> Drawing:
    figure = new_figure(4.3)
    axes = figure.subplots()
    numbers = sorted({value for row in rows if (value := number_of(row, key)) is not None})
    looks = {method: look for method, look in method_looks(table).items() if any(row.method == method for row in rows)}
    for i, (method, look) in enumerate(looks.items()):
        of_method = [row for row in rows if row.method == method]
        numbered = sorted((value, row) for row in of_method if (value := number_of(row, key)) is not None)
        if numbered:
            places = [beside(value, numbers, (i - (len(looks) - 1) / 2) * _APART) for value, _ in numbered]
            estimates = [row.estimates[table.metric] for _, row in numbered]
            draw_estimates(axes, places, estimates, look, method, line=True)
        for row in of_method:
            if number_of(row, key) is None:
                _band(axes, row, table.metric, look)
    name = short_names([key])[key]
    _ticks(axes, numbers)
    axes.set_xlabel(name)
    axes.set_ylabel(f"{full_title(table.metric)}, %")
    within_percent(axes, "y")
    figure.legend(loc="outside lower center", ncols=3)
    words = intervals_in_words([row.estimates[table.metric] for row in rows])
    bands = any(number_of(row, key) is None for row in rows)
    caption = f"{sentence_start(full_title(table.metric))} over the {name}, in the mean. {words}"
    if bands:
        caption += f" A method that has no {name} is a line across, its interval a band."
    return Drawing(figure, f"{sentence_start(full_title(table.metric))} over the {name}", caption)


def beside(value: float, numbers: list[float], share: float) -> float:
    """Return a position beside `value` for a method's point, so that error bars of methods do not hide each other.

    `numbers` are all values on the axis, ascending. The position is to the right of `value` by `share` of their range
    (on a logarithmic axis, of the range of their logarithms), or to the left if `share` is negative.
    """
    if is_log(numbers):
        return float(value * (numbers[-1] / numbers[0]) ** share)
    return value + share * (numbers[-1] - numbers[0])


def is_log(numbers: list[float]) -> bool:
    """Return whether an axis for `numbers`, in ascending order, should be logarithmic; see `LOG_RATIO`."""
    return numbers[0] > 0 and numbers[-1] / numbers[0] >= LOG_RATIO


def _band(axes: "Axes", row: Row, metric: str, look: Look) -> None:
    estimate = row.estimates[metric]
    axes.axhline(estimate.mean, **look.line(), label=row.method)
    if estimate.low is not None and estimate.high is not None:
        axes.axhspan(estimate.low, estimate.high, color=look.colour, alpha=0.12, linewidth=0)


def _ticks(axes: "Axes", values: list[float]) -> None:
    """Label the x axis of `axes` at the trained `values`, and make it logarithmic if `is_log` says so."""
    if is_log(values):
        axes.set_xscale("log")
    axes.set_xticks(values, tell_apart(values, describe_value, SETTING_DIGITS))
    axes.minorticks_off()


def _points(table: AblationTable, rows: Sequence[Row]) -> Drawing:
    """Draw each of `rows` of `table` with its estimate and seeds, in groups of rows with one setting or one loss."""
    shown = few(table, MOST_ROWS, lambda row: row in rows)
    looks = _category_looks(table)
    groups: dict[str, list[Row]] = {}
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


def group_name(table: AblationTable, row: Row) -> str:
    """Return the name of the group of points in which `row` of `table` is drawn.

    A group is named by the loss if all rows have the same setting. Otherwise it is named by the setting, preceded by
    the loss if there are more than `MOST_METHODS` methods.
    """
    base = row.loss_name
    several_settings = len({other.setting for other in table.rows}) > 1
    if not several_settings:
        return base
    alone = not any(other.has_mdr for other in table.rows if other.setting == row.setting)
    setting = row.setting or (WITHOUT if alone else NOTHING_VARIED)
    return setting if _few_methods(table) else f"{base}, {setting}"


def _wrapped(name: str) -> str:
    return textwrap.fill(name, 24, max_lines=MOST_LINES, placeholder=" \N{HORIZONTAL ELLIPSIS}")


def _few_methods(table: AblationTable) -> bool:
    return len({row.method for row in table.rows}) <= MOST_METHODS and len({row.setting for row in table.rows}) > 1


def _category_looks(table: AblationTable) -> dict[str, tuple[str, Look]]:
    if _few_methods(table):
        return {method: (method, look) for method, look in method_looks(table).items()}
    with_mdr, without = Look(BLUE, "o", "-", True), Look(VERMILLION, "s", DASHES[0], False)
    return {row.method: ("with MDR", with_mdr) if row.has_mdr else ("without MDR", without) for row in table.rows}
