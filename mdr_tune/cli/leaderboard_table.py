"""Make the leaderboard's table for a terminal.

If not all columns fit, the least important ones are left out, and a note names them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mdr_tune.config.domains import tell_apart
from mdr_tune.records.recorded_sweep import SweepRecords
from mdr_tune.report.leaderboard import Line, budget_note, titles
from mdr_tune.report.names import format_parameters
from mdr_tune.util.words import count

PARAMETERS_WIDTH = 28
"""Least width of the column of parameters, in characters. Longer text is continued on the next line."""
_GAP = 2
_STYLES = {"diverged": "red", "failed": "red", "running": "cyan"}


@dataclass(frozen=True)
class _Column:
    """A column of the table. It is left out if it has no text for any trial.

    `text` returns the column's text for a trial, and `right` aligns it to the right. `keep` is the importance, 0 to 9.
    If the columns do not fit, the least important ones are left out first, but none of importance 9. Columns of
    importance 0 are left out without a note.
    """

    title: str
    text: Callable[[Line], str]
    keep: int
    right: bool = True


def leaderboard_table(
    sweep: SweepRecords, entries: list[Line], width: int, top: int | None = None, state: str = ""
) -> RenderableType:
    """Return the leaderboard of `sweep` as a table, with a line about the launch above it and notes below it.

    `entries` are the leaderboard's lines, in order. The first `top` lines are shown, or all if `top` is None. `width`
    is the width of the terminal in characters. `state` is text to add to the line about the launch.
    """
    shown = entries[:top]
    columns = [column for column in _columns(sweep, entries) if any(column.text(entry) for entry in shown)]
    fitting = _fitting(columns, shown, width)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for column in fitting:
        is_last = column.title == "parameters"
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=not is_last)
    for entry in shown:
        table.add_row(*(Text(c.text(entry)) for c in fitting), style=_STYLES.get(entry.outcome, ""))
    head = Text(sweep.name, style="bold").append(f": {_counts(entries)}{state}", style="not bold")
    lines = [budget_note(entries), _left_out(columns, fitting), _not_shown(entries, shown)]
    notes = [Text(line, style="dim") for line in lines if line]
    if not entries:
        return Group(head, Text(), Text("No trial is recorded."))
    return Group(head, Text(), table, *([Text(), *notes] if notes else []))


def _columns(sweep: SweepRecords, entries: list[Line]) -> list[_Column]:
    title = titles(sweep)
    several_arms = len({entry.arm for entry in entries}) > 1
    texts = tell_apart([entry.parameters for entry in entries], format_parameters)
    said = {entry.trial: text for entry, text in zip(entries, texts, strict=True)}
    second = title.get("second", "")
    return [
        _Column("rank", lambda e: "" if e.rank is None else str(e.rank), 9),
        _Column("trial", lambda e: e.trial, 9, right=False),
        _Column("arm", lambda e: e.arm if several_arms else "", 1, right=False),
        _Column("outcome", lambda e: e.outcome, 8, right=False),
        _Column("epochs", lambda e: str(e.epochs), 8),
        _Column(title["best"], lambda e: _number(e.best, 2), 9),
        _Column(title["best_epoch"], lambda e: "" if e.best_epoch is None else str(e.best_epoch), 5),
        _Column(title["mean"], lambda e: "" if e.mean is None else f"{e.mean:.2f} ({e.seeds})", 9),
        _Column(second, _front, 9),
        _Column(title["test"], lambda e: _number(e.test, 2), 7),
        _Column(
            title["images_per_s"], lambda e: "" if second == title["images_per_s"] else _number(e.images_per_s, 0), 2
        ),
        _Column(title["epoch_s"], lambda e: _number(e.epoch_s, 2), 4),
        _Column(title["peak_gib"], lambda e: _number(e.peak_gib, 2), 3),
        _Column(title["run_id"], lambda e: e.run_id, 0, right=False),
        _Column("parameters", lambda e: said[e.trial], 9, right=False),
    ]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _front(entry: Line) -> str:
    return "" if entry.second is None else f"{entry.second:.4g}{' *' if entry.front else '  '}"


def _fitting(columns: list[_Column], entries: list[Line], width: int) -> list[_Column]:
    """Return those `columns` that fit into `width` characters if the table has the lines `entries`.

    The column of parameters needs at most `PARAMETERS_WIDTH` characters, because its texts can be broken into lines.
    """

    def needed(column: _Column) -> int:
        widest = max([len(column.title), *(len(column.text(entry)) for entry in entries)])
        return min(widest, PARAMETERS_WIDTH) if column.title == "parameters" else widest

    kept = list(columns)
    while sum(needed(column) + _GAP for column in kept) > width and any(column.keep < 9 for column in kept):
        kept.remove(min(kept, key=lambda column: column.keep))
    return kept


def _counts(entries: list[Line]) -> str:
    outcomes = dict.fromkeys(entry.outcome for entry in entries)
    parts = [f"{sum(entry.outcome == outcome for entry in entries)} {outcome}" for outcome in outcomes]
    return ", ".join([count(len(entries), "trial"), *parts])


def _left_out(columns: list[_Column], fitting: list[_Column]) -> str | None:
    missing = [column.title for column in columns if column not in fitting and column.keep]
    return f"No room for: {', '.join(missing)}. --format csv has everything." if missing else None


def _not_shown(entries: list[Line], shown: list[Line]) -> str | None:
    starred = "* on the Pareto front: no other is as good in both. " if any(entry.front for entry in shown) else ""
    more = f"{len(entries) - len(shown)} more trials." if len(shown) < len(entries) else ""
    return (starred + more).strip() or None
