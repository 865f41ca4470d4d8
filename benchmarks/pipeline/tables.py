"""What is printed: how fast each side is, and what a cache costs; and its lines for `make bench`."""

from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table
from summary.rows import Row

from pipeline.sides import NOT_NORMALIZED

AIM = 10
"""Times as many images a second, where both sides end with uint8."""


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
        return median(self.speeds[side])


def baseline_of(side: str) -> str:
    """Return Pillow's side that ends with what `side` ends with."""
    return f"Pillow{NOT_NORMALIZED}" if side.endswith(NOT_NORMALIZED) else "Pillow"


def rows(measured: Measured) -> list[Row]:
    """Return the lines of the table of `make bench`."""
    found = []
    for side, aim in ((f"ours, cache on{NOT_NORMALIZED}", AIM), ("ours, cache on", None), ("ours, cache off", None)):
        what = f"input, a core: 500 x 375 JPEG to 224 x 224 {'uint8' if side.endswith(NOT_NORMALIZED) else 'float32'}"
        what += ", without the cache" if "cache off" in side else ""
        numbers = measured.median(side), measured.median(baseline_of(side))
        against = "Pillow: decode, Lanczos, crop"
        found.append(Row(what, against, "images/s", *numbers, more_is_better=True, aim=aim))
    return found


def print_table(console: Console, measured: Measured) -> None:
    """Print one row a side, its median in terms of Pillow's."""
    table = Table(title="Images a second on one core", title_justify="left", title_style="bold")
    for column in ("", "images/s", "ratio", "rounds"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for side, rounds in measured.speeds.items():
        ratio = measured.median(side) / measured.median(baseline_of(side))
        each = " ".join(f"{speed:.0f}" for speed in rounds)
        table.add_row(side, f"{measured.median(side):.0f}", f"{ratio:.2f}", each)
    console.print(table)
    console.print(
        f"{measured.images} JPEGs of {measured.file_bytes / 1e3:.0f} kB in the mean. "
        f"Their cache ({measured.cache_bytes / 1e6:.0f} MB) took {measured.build_s:.1f} s on the same core, "
        f"{measured.images / measured.build_s:.0f} images/s, once.",
        style="dim",
    )
