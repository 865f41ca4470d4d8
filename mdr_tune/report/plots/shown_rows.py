"""Choose the rows of a table that a figure shows, and give them the same names and looks in all figures."""

import textwrap
from collections.abc import Callable, Iterable, Sequence

from mdr_tune.report.names import full_title
from mdr_tune.report.row_settings import WITH_MDR
from mdr_tune.report.rows import AblationTable, Estimate, Row
from mdr_tune.report.style import COLOURS, DASHES, MARKERS, Look
from mdr_tune.util.words import count

LABEL_WIDTH = 34
"""Largest number of characters in a line of a label."""
MOST_LINES = 3
"""Largest number of lines of a setting in a label."""


def label(row: Row, width: int = LABEL_WIDTH) -> str:
    """Return the label of `row` in a figure, in lines of at most `width` characters.

    If the setting is too long, its end is replaced by the row's name.
    """
    if not row.setting:
        return textwrap.fill(row.method, width)
    if len(row.method) + len(row.setting) + 2 <= width:
        return f"{row.method}, {row.setting}"
    cut = f" \N{HORIZONTAL ELLIPSIS} ({row.name})"
    setting = textwrap.wrap(row.setting, width, max_lines=MOST_LINES, placeholder=cut)
    return "\n".join([f"{textwrap.fill(row.method, width)},", *setting])


def best_in_words(table: AblationTable, rows: Sequence[Row]) -> str:
    """Return a sentence that a figure shows the last of `rows` because its mean of the metric of `table` is highest."""
    among = "Of the rows with MDR the one" if rows[-1].has_mdr else "The row"
    return f" {among} with the highest mean of {full_title(table.metric)} is shown."


def sentence_start(text: str) -> str:
    """Return `text` with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def mean_of(table: AblationTable, row: Row) -> float:
    """Return the mean of `row` in the metric of `table`; minus infinity if the row has none."""
    return row.estimates[table.metric].mean if table.metric in row.estimates else float("-inf")


def best_and_baselines(table: AblationTable, usable: Callable[[Row], bool], most: int = 3) -> list[Row]:
    """Return at most `most` rows of `table`: baselines of the best row with MDR, and this best row as the last one.

    `usable` says whether a row has the data that the figure shows; other rows are left out. If no usable row has MDR,
    the best of all usable rows is the last one.
    """
    rows = [row for row in table.rows if row.seeds and usable(row)]
    candidates = [row for row in rows if row.has_mdr] or rows
    if not candidates:
        return []
    best = max(candidates, key=lambda row: mean_of(table, row))
    baselines = [difference.baseline for difference in best.differences]
    return [*[row for row in rows if row.name in baselines and row is not best][: most - 1], best]


def few(table: AblationTable, most: int, usable: Callable[[Row], bool] = lambda _: True) -> list[Row]:
    """Return at most `most` rows of `table`, in the order of the table, for which `usable` returns true.

    The best row with MDR is chosen first, then its baselines, then the next best rows.
    """
    rows = [row for row in table.rows if row.seeds and usable(row)]
    if len(rows) <= most:
        return rows
    first = best_and_baselines(table, usable, most)
    others = sorted((row for row in rows if row not in first), key=lambda row: -mean_of(table, row))
    chosen = [*first, *others[: most - len(first)]]
    return [row for row in rows if row in chosen]


def of_all(
    shown: Sequence[Row], table: AblationTable, among: Callable[[Row], bool] = lambda _: True, what: str = "rows"
) -> str:
    """Return a sentence on how the rows in `shown` were chosen from `table`; empty if all rows are shown.

    `among` says whether a row of `table` could be in the figure. `what` is the word for such rows: `rows with MDR`.
    """
    possible = sum(1 for row in table.rows if row.seeds and among(row))
    if len(shown) >= possible:
        return ""
    best = "the best with MDR" if any(row.has_mdr for row in table.rows) else "the best"
    chosen = f"{best} at {full_title(table.metric)}, its baselines, then the next best"
    return f" Shown are {len(shown)} of {possible} {what}: {chosen}."


def looks(table: AblationTable, shown: Sequence[Row]) -> dict[str, Look]:
    """Return the look of each row in `shown`, by the row's name.

    If no two rows have the same method, each row has the look of its method, see `method_looks`. Otherwise each row has
    a colour and shape of its own. Rows with MDR have solid lines and filled points, rows without MDR dashed lines and
    hollow points.
    """
    methods = method_looks(table)
    if len({row.method for row in shown}) == len(shown):
        return {row.name: methods[row.method] for row in shown}
    return {
        row.name: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], methods[row.method].dash, row.has_mdr)
        for i, row in enumerate(shown)
    }


def method_looks(table: AblationTable) -> dict[str, Look]:
    """Return the look of each method of `table`, by the method's name. Looks are the same in all figures."""
    methods = list(dict.fromkeys(row.method for row in table.rows))
    without = [method for method in methods if not method.endswith(WITH_MDR)]
    ordered = [*[method for method in methods if method not in without], *without]
    found = {}
    for i, method in enumerate(ordered):
        mdr = method not in without
        dash = "-" if mdr else DASHES[without.index(method) % len(DASHES)]
        found[method] = Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], dash, mdr)
    return found


def seeds_in_words(counts: Iterable[int]) -> str:
    """Return the numbers of seeds `counts` in words: `3 seeds` if all are 3, or `2 to 3 seeds` if they differ."""
    found = sorted(set(counts))
    return count(found[0], "seed") if len(found) == 1 else f"{found[0]} to {found[-1]} seeds"


def runs_in_words(rows: Sequence[Row]) -> str:
    """Return the number of seeds of each of `rows` in words, as `seeds_in_words`; that of their trials with folds."""
    words = seeds_in_words(len(row.seeds) for row in rows)
    return words.replace("seed", "trial") if any(row.folds for row in rows) else words


def intervals_in_words(estimates: Sequence[Estimate]) -> str:
    """Return a sentence that says which intervals the error bars of `estimates` show."""
    over_seeds = [e.n for e in estimates if e.low is not None and e.over == "seeds"]
    parts = []
    if over_seeds:
        parts.append(f"95 % t-intervals over {seeds_in_words(over_seeds)}")
    if any(e.low is not None and e.over == "folds" for e in estimates):
        parts.append("95 % intervals over the folds, by the corrected variance")
    if any(e.low is not None and e.over == "queries" for e in estimates):
        is_one_run = all(e.over_classes is None for e in estimates)
        parts.append(f"95 % bootstrap intervals over the queries{' of a single run' if is_one_run else ''}")
    if not parts:
        return "One seed each: there are no error bars."
    return f"Error bars: {', or '.join(parts)}."
