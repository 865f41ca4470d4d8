"""What is printed: a table of both sides at the same reports, and what all of it took; the lines for `make bench`."""

from rich.console import Console
from rich.table import Table
from summary.rows import Row

from scale.meter import Stamps
from scale.windows import EDGE, Window, bounds, different_values, window, windows

AIM = 5
"""Times less, of the driver's time a report."""
FOOTNOTE = """\
wall: from report to report, in the mean; what comes once a trial is in it. cpu: of the driver, all of its threads.
MiB: the driver's memory at the line's last report. queued: the most writes to MLflow that waited; Ray's callback
writes at once."""


def rows(ours: Stamps, theirs: Stamps) -> list[Row]:
    """Return the lines of the table of `make bench`: at the last reports that both sides have."""
    last = min(len(ours.at_s), len(theirs.at_s))
    first = bounds(last)[-1][0]
    mine, other = window(ours, first, last), window(theirs, first, last)
    begin, *_, end = windows(ours)
    search = f"sweep of {len(ours.values):,} trials"
    against = "Ray's MLflow callback"
    what = f"{search}, a report ({mine.label})"
    return [
        Row(f"{what}: driver's processor time", against, "ms", mine.cpu_ms, other.cpu_ms, aim=AIM),
        Row(f"{what}: time", against, "ms", mine.wall_ms, other.wall_ms, aim=AIM),
        Row(f"{search}, its last {EDGE} reports: processor time", "its first", "ms", end.cpu_ms, begin.cpu_ms),
    ]


def print_windows(console: Console, ours: Stamps, theirs: Stamps) -> None:
    """Print time a report and memory, from the first reports to the last; of the other side as far as it went."""
    table = Table(title="A report, on the driver", title_justify="left", title_style="bold")
    table.add_column("reports", no_wrap=True)
    for side in ("ours", "Ray's"):
        for column in ("wall ms", "cpu ms", "MiB", *(["queued"] if side == "ours" else [])):
            table.add_column(f"{side}\n{column}", justify="right", no_wrap=True)
    table.add_column("ratio\nwall", justify="right")
    reached = len(theirs.at_s)
    for mine in windows(ours):
        other = window(theirs, mine.first, mine.last) if mine.last <= reached else None
        _add(table, mine, other)
    if reached < len(ours.at_s):
        first, last = bounds(reached)[-1]
        table.add_section()
        _add(table, window(ours, first, last), window(theirs, first, last), "Ray's last: ")
    console.print(table)
    console.print(FOOTNOTE, style="dim", soft_wrap=True)


def _add(table: Table, mine: Window, other: Window | None, prefix: str = "") -> None:
    their_cells = ["", "", "", ""]
    if other is not None:
        ratio = f"{other.wall_ms / mine.wall_ms:.1f}"
        their_cells = [f"{other.wall_ms:.1f}", f"{other.cpu_ms:.1f}", f"{other.rss_mib:.0f}", ratio]
    cells = [f"{mine.wall_ms:.1f}", f"{mine.cpu_ms:.1f}", f"{mine.rss_mib:.0f}", str(mine.queued)]
    table.add_row(prefix + mine.label, *cells, *their_cells)


def print_totals(console: Console, ours: Stamps, theirs: Stamps) -> None:
    """Print what each side took in all, and how its last reports compare with its first."""
    table = Table(title="In all", title_justify="left", title_style="bold")
    for column in ("", "ours", "Ray's", "ratio"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    sides = (ours, theirs)
    table.add_row("trials", *(f"{len(side.values):,}" for side in sides), "")
    table.add_row("reports", *(f"{len(side.at_s):,}" for side in sides), "")
    table.add_row("search, seconds", *(f"{side.searched_s:.1f}" for side in sides), "")
    table.add_row("then until all is written, seconds", *(f"{s.written_s - s.searched_s:.2f}" for s in sides), "")
    both = min(len(side.at_s) for side in sides)
    to_there = [side.written_s if len(side.at_s) == both else side.at_s[both - 1] for side in sides]
    label = f"first {both:,} reports, seconds"
    table.add_row(label, *(f"{value:.1f}" for value in to_there), f"{to_there[1] / to_there[0]:.1f}", style="bold")
    for label, name in (("last reports to first, wall", "wall_ms"), ("last reports to first, cpu", "cpu_ms")):
        growth = [getattr(windows(side)[-1], name) / getattr(windows(side)[0], name) for side in sides]
        table.add_row(label, *(f"{value:.2f}" for value in growth), "", style="bold")
    table.add_row("memory, MiB a thousand reports", *(f"{_memory(side):.1f}" for side in sides), "")
    table.add_row("load of the machine", *(" to ".join(f"{load:.1f}" for load in side.load) for side in sides), "")
    console.print(table)


def _memory(side: Stamps) -> float:
    """Return the growth of the driver's memory from the first reports to the last."""
    first, last = windows(side)[0], windows(side)[-1]
    return (last.rss_mib - first.rss_mib) / max(1, last.last - first.last) * 1000


def print_comparison(console: Console, ours: Stamps, theirs: Stamps) -> bool:
    """Print whether both sides ran the same trials; returns it."""
    different = different_values(ours.values, theirs.values)
    both = min(len(ours.values), len(theirs.values))
    if different:
        numbers = ", ".join(map(str, different[:10]))
        console.print(f"{len(different)} of {both} trials have other values, the first of them {numbers}", style="red")
    else:
        console.print(f"The same trials on both sides: {both:,} values, compared exactly.", soft_wrap=True)
    return not different
