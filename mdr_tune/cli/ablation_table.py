"""Print the tables of an ablation on a terminal: the values of one metric, and the differences to the baselines."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mdr_tune.cli.terminal import say
from mdr_tune.records.metrics import metric_label
from mdr_tune.report.names import full_title
from mdr_tune.report.output import texts
from mdr_tune.report.rows import AblationTable
from mdr_tune.report.verdicts import WORDINGS

_STYLES = {"better": "green", "worse": "red", "open": "", "quiet": "dim"}
"""Style of a verdict by its tone."""


def print_ablation(console: Console, table: AblationTable) -> None:
    """Print the rows of `table`, their differences to the baselines, and its notes on `console`.

    Only the metric in which rows are compared is shown. The report shows the other metrics too.
    """
    head = Text(table.sweep, style="bold").append(f": {full_title(table.metric)}, ", style="not bold")
    say(console, head.append(texts.caption(table), style="not bold"))
    if not table.rows:
        console.print("No trial has a result yet.")
        return
    console.print(_values(table))
    if texts.differences_of(table):
        console.print()
        console.print(_differences(table))
    console.print()
    for note in table.notes:
        say(console, Text(f"- {note}", style="dim"))


def _values(table: AblationTable) -> Table:
    best = texts.highest(table).get(table.metric)
    drawn = _empty(["row", *texts.name_titles(table)])
    drawn.add_column(texts.count_title(table), no_wrap=True)
    drawn.add_column(metric_label(table.metric), justify="right", no_wrap=True)
    for row in table.rows:
        cells = [row.name, *texts.name_cells(table, row), texts.seeds(row, table.metric)]
        value = Text(texts.value(row.estimates.get(table.metric)), style="bold" if row.name == best else "")
        drawn.add_row(*map(Text, cells), value)
    return drawn


def _differences(table: AblationTable) -> Table:
    drawn = _empty(["row", "over", "verdict"])
    for title in ("difference", "p (Holm)"):
        drawn.add_column(title, justify="right", no_wrap=True)
    for row, difference in texts.differences_of(table):
        estimate = difference.estimate
        drawn.add_row(
            Text(row.name),
            Text(f"{difference.label} ({difference.baseline})"),
            Text(difference.verdict, style=_STYLES[WORDINGS[difference.verdict].tone]),
            Text(f"{texts.signed(estimate.mean)} {texts.spread(estimate)}".strip()),
            Text(texts.p_value(difference.p_holm)),
        )
    return drawn


def _empty(titles: list[str]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in titles:
        drawn.add_column(title, overflow="fold")
    return drawn
