"""What is printed: a table of both sides at the same reports, and what all of it took; the lines for `make bench`."""

from statistics import median

from rich.console import Console
from rich.table import Table
from summary.rows import Row

from scale.meter import Stamps
from scale.windows import EDGE, Window, bounds, different_values, median_window, window, windows

AIM = 5
"""Times less, of the driver's time a report."""
FOOTNOTE = """\
wall: from report to report, in the mean; what comes once a trial is in it. cpu: of the driver, all of its threads.
MiB: the driver's memory at the line's last report. queued: the most writes to MLflow that waited; Ray's callback
writes at once."""


def rows(ours: list[Stamps], theirs: list[Stamps], whole: Stamps) -> list[Row]:
    """Return the lines of the table of `make bench`.

    Args:
        ours: Our rounds.
        theirs: The other side's, of as many reports.
        whole: Our side, with all trials.
    """
    first, last = bounds(len(ours[0].at_s))[-1]
    mine, other = median_window(ours, first, last), median_window(theirs, first, last)
    early, end = window(whole, first, last), windows(whole)[-1]
    search, against = f"of a sweep of {len(whole.values):,} trials", "plain Ray Tune with its MLflow callback"
    which = f"a report, {mine.label} {search}"
    return [
        Row(f"driver's processor time {which}", against, "ms", mine.cpu_ms, other.cpu_ms, aim=AIM),
        Row(f"driver's time {which}", against, "ms", mine.wall_ms, other.wall_ms, aim=AIM),
        Row(
            f"driver's processor time a report, {end.label} {search}, one run",
            f"ours, {early.label}",
            "ms",
            end.cpu_ms,
            early.cpu_ms,
        ),
    ]


def print_windows(console: Console, ours: list[Stamps], theirs: list[Stamps], whole: Stamps) -> None:
    """Print time a report and memory: of both sides as far as both went, and of ours to the end."""
    title = f"A report, on the driver (median of {len(ours)})"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("reports", no_wrap=True)
    for side in ("ours", "Ray's"):
        for column in ("wall ms", "cpu ms", "MiB", *(["queued"] if side == "ours" else [])):
            table.add_column(f"{side}\n{column}", justify="right", no_wrap=True)
    for column in ("wall", "cpu"):
        table.add_column(f"ratio\n{column}", justify="right")
    for first, last in bounds(len(ours[0].at_s)):
        _add(table, median_window(ours, first, last), median_window(theirs, first, last))
    if len(whole.at_s) > len(ours[0].at_s):
        table.add_section()
        for mine in windows(whole):
            _add(table, mine, None)
    console.print(table)
    console.print(FOOTNOTE, style="dim", soft_wrap=True)


def _add(table: Table, mine: Window, other: Window | None) -> None:
    their_cells = ["", "", "", "", ""]
    if other is not None:
        ratios = [f"{other.wall_ms / mine.wall_ms:.1f}", f"{other.cpu_ms / mine.cpu_ms:.1f}"]
        their_cells = [f"{other.wall_ms:.1f}", f"{other.cpu_ms:.1f}", f"{other.rss_mib:.0f}", *ratios]
    cells = [f"{mine.wall_ms:.1f}", f"{mine.cpu_ms:.1f}", f"{mine.rss_mib:.0f}", str(mine.queued)]
    table.add_row(mine.label, *cells, *their_cells)


def print_totals(console: Console, ours: list[Stamps], theirs: list[Stamps], whole: Stamps) -> None:
    """Print what each side took in all, and how its last reports compare with its first."""
    table = Table(title="In all", title_justify="left", title_style="bold")
    for column in ("", "ours", "Ray's", "ours, all trials"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    columns = (ours, theirs, [whole])
    table.add_row("trials", *(f"{len(rounds[0].values):,}" for rounds in columns))
    table.add_row("reports", *(f"{len(rounds[0].at_s):,}" for rounds in columns))
    for label, of in (
        ("search, seconds", lambda side: side.searched_s),
        ("then until all is written, seconds", lambda side: side.written_s - side.searched_s),
        ("last reports to early ones (1), wall", lambda side: windows(side)[-1].wall_ms / _early(side).wall_ms),
        ("last reports to early ones (1), cpu", lambda side: windows(side)[-1].cpu_ms / _early(side).cpu_ms),
        ("memory, MiB a thousand reports", _memory),
    ):
        table.add_row(label, *(f"{median(map(of, rounds)):.2f}" for rounds in columns))
    loads = [[load for side in rounds for load in side.load] for rounds in columns]
    table.add_row("load of the machine", *(f"{min(load):.1f} to {max(load):.1f}" for load in loads))
    console.print(table)
    console.print(f"(1) those after the first {EDGE}, in which the sampler still draws at random", style="dim")


def _early(side: Stamps) -> Window:
    """Return the second window, or the last where there are only two."""
    return windows(side)[1]


def _memory(side: Stamps) -> float:
    """Return the growth of the driver's memory from the first reports to the last."""
    first, last = windows(side)[0], windows(side)[-1]
    return (last.rss_mib - first.rss_mib) / max(1, last.last - first.last) * 1000


def print_comparison(console: Console, ours: list[Stamps], theirs: list[Stamps]) -> bool:
    """Print whether all runs of both sides had the same trials; returns it."""
    reference, *others = [*theirs, *ours]
    count = len(reference.values)
    different = sorted({number for side in others for number in different_values(reference.values, side.values)})
    if any(len(side.values) < count for side in others):
        console.print(f"A run had less than {count} trials.", style="red")
        return False
    if different:
        numbers = ", ".join(map(str, different[:10]))
        console.print(f"{len(different)} of {count} trials have other values, the first of them {numbers}", style="red")
        return False
    console.print(f"The same trials in all {len(others) + 1} runs: {count:,} values, compared exactly.", soft_wrap=True)
    return True
