"""What follows from the stamps: time a report and memory, at the start of the search, in between, and at its end."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from scale.meter import Stamps

EDGE = 100
"""Reports at the start and at the end that are looked at by themselves."""
STRETCH = 1000


@dataclass(frozen=True)
class Window:
    """Reports `first` to `last`, counted from 1.

    Attributes:
        wall_ms: Time a report, in the mean; what comes once a trial is in it.
        cpu_ms: Processor time of the driver a report, all of its threads.
        rss_mib: The driver's resident memory at the last of them.
        queued: Most writes to MLflow that waited.
    """

    first: int
    last: int
    wall_ms: float
    cpu_ms: float
    rss_mib: float
    queued: int

    @property
    def label(self) -> str:
        """Which reports these are."""
        return f"{self.first:,} to {self.last:,}"


def bounds(reports: int, edge: int = EDGE, stretch: int = STRETCH) -> list[tuple[int, int]]:
    """Return first and last report of each window: the first `edge`, from there by the `stretch`, the last `edge`.

    Where there are less than two edges, half of the reports are an edge.
    """
    edge = max(1, min(edge, reports // 2))
    marks = [0, edge, *range(stretch, reports - edge, stretch), reports - edge, reports]
    marks = [mark for i, mark in enumerate(marks) if i == 0 or mark > marks[i - 1]]
    return [(before + 1, after) for before, after in itertools.pairwise(marks)]


def window(stamps: Stamps, first: int, last: int) -> Window:
    """Return what was measured from report `first` to `last`, without the first of all: Tune's start is in it."""
    begin = max(first - 1, 1) - 1  # the report before it
    count = max(1, last - 1 - begin)
    return Window(
        first,
        last,
        1000 * (stamps.at_s[last - 1] - stamps.at_s[begin]) / count,
        1000 * (stamps.cpu_s[last - 1] - stamps.cpu_s[begin]) / count,
        stamps.rss_mib[last - 1],
        max(stamps.queued[first - 1 : last]),
    )


def windows(stamps: Stamps) -> list[Window]:
    """Return all windows of a side."""
    return [window(stamps, first, last) for first, last in bounds(len(stamps.at_s))]


def median_window(rounds: Sequence[Stamps], first: int, last: int) -> Window:
    """Return the medians over the rounds of what was measured from report `first` to `last`."""
    found = [window(stamps, first, last) for stamps in rounds]
    return Window(
        first,
        last,
        median(each.wall_ms for each in found),
        median(each.cpu_ms for each in found),
        median(each.rss_mib for each in found),
        max(each.queued for each in found),
    )


def different_values(ours: Sequence[float], theirs: Sequence[float]) -> list[int]:
    """Return the numbers of the trials, from 1, whose values are not the same on both sides, of those that both had."""
    return [number for number, pair in enumerate(zip(ours, theirs, strict=False), 1) if pair[0] != pair[1]]
