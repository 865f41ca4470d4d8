"""What is printed, and written into docs/benchmarks.md: one table of all lines."""

from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from summary.rows import Row

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
COLUMNS = ("what", "against", "unit", "ours", "theirs", "ratio", "limit", "of it", "aim", "met")
_AIMS = {"times better": "{:g}x", "at most": "at most {:g}"}


def cells(row: Row) -> list[str]:
    """Return a line as text, one for each of COLUMNS."""
    numbers = [row.ours, row.theirs, row.ratio, row.limit, row.of_limit]
    ours, theirs, ratio, limit, of_limit = ("" if number is None else _number(number) for number in numbers)
    aim = "" if row.aim is None else _AIMS[row.aim_is].format(row.aim)
    met = {True: "yes", False: "no", None: ""}[row.is_met]
    return [row.what, row.against, row.unit, ours, theirs, ratio, limit, of_limit, aim, met]


def _columns(rows: list[Row]) -> tuple[str, ...]:
    """Return the titles of the columns; those of aims, the last two, only if a line has one."""
    return COLUMNS if any(row.aim is not None for row in rows) else COLUMNS[:-2]


def print_table(console: Console, rows: list[Row], title: str = "All benchmarks") -> None:
    """Print all lines; those that miss their aim stand out."""
    table = Table(title=title, title_justify="left", title_style="bold")
    columns = _columns(rows)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number > 2 else "left", no_wrap=number > 1)
    for row in rows:
        table.add_row(*cells(row)[: len(columns)], style="yellow" if row.is_met is False else None)
    console.print(table)


def as_markdown(rows: list[Row], machine: str, day: date) -> str:
    """Return the section for docs/benchmarks.md, without its markers."""
    columns = _columns(rows)
    lines = [f"{day.isoformat()}, {machine}.", "", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in cells(row)[: len(columns)])} |" for row in rows]
    return "\n".join(lines)


def write_section(file: Path, text: str) -> None:
    """Replace what stands between the markers in `file`.

    Raises:
        ValueError: The markers are not there.
    """
    whole = file.read_text()
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file}: has no lines {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"
