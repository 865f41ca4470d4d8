"""What is printed: how fast each side is, and what a cache costs."""

from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from pipeline.sides import NOT_NORMALIZED


@dataclass(frozen=True)
class Measured:
    """What came out.

    Attributes:
        images: How many files there are.
        file_bytes: Mean size of a file.
        build_s: Seconds of making the cache.
        cache_bytes: Size of the cache's images.
        speeds: Images a second of each round, by side.
    """

    images: int
    file_bytes: float
    build_s: float
    cache_bytes: int
    speeds: dict[str, list[float]]

    def median(self, side: str) -> float:
        """Images a second, the median of the rounds."""
        return float(torch.tensor(self.speeds[side], dtype=torch.float64).quantile(0.5))


def baseline_of(side: str) -> str:
    """Return the authors' side that ends with what `side` ends with."""
    return f"authors{NOT_NORMALIZED}" if side.endswith(NOT_NORMALIZED) else "authors"


def print_table(console: Console, measured: Measured) -> None:
    """Print one row a side, its median in terms of the authors' if theirs was measured."""
    table = Table(title="Images a second on one core", title_justify="left", title_style="bold")
    for column in ("", "images/s", "ratio", "rounds"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for side, rounds in measured.speeds.items():
        baseline = baseline_of(side)
        ratio = f"{measured.median(side) / measured.median(baseline):.2f}" if baseline in measured.speeds else "-"
        table.add_row(side, f"{measured.median(side):.0f}", ratio, " ".join(f"{speed:.0f}" for speed in rounds))
    console.print(table)
    console.print(
        f"{measured.images} JPEGs of {measured.file_bytes / 1e3:.0f} kB in the mean. "
        f"Their cache ({measured.cache_bytes / 1e6:.0f} MB) took {measured.build_s:.1f} s on the same core, "
        f"{measured.images / measured.build_s:.0f} images/s, once.",
        style="dim",
    )
    if "authors" not in measured.speeds:
        console.print("The authors' code was not measured: give a checkout of it with --authors DIR.", style="dim")
