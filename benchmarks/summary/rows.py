"""Lines of the table of `make bench`: what each benchmark found, beside what it is compared to."""

import argparse
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Aim = Literal["times better", "at most"]


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: What was measured.
        against: What it is compared to.
        unit: Of the three numbers.
        ours: The median of our side.
        theirs: The median of the other side, of the same run; None if there is none.
        limit: What the hardware, or the mathematics, does not allow to beat; None if it is not known.
        more_is_better: A speed, not a time or a size.
        aim: What is to be reached.
        aim_is: Of what: of the ratio to the other side, or of our number itself.
    """

    what: str
    against: str
    unit: str
    ours: float
    theirs: float | None = None
    limit: float | None = None
    more_is_better: bool = False
    aim: float | None = None
    aim_is: Aim = "times better"

    @property
    def ratio(self) -> float | None:
        """How many times better ours is than theirs; None without theirs, and beside zero."""
        if not self.theirs or not self.ours:
            return None
        return self.ours / self.theirs if self.more_is_better else self.theirs / self.ours

    @property
    def of_limit(self) -> float | None:
        """How many times our number is the limit (for a speed: the limit our number)."""
        if self.limit is None:
            return None
        return self.limit / self.ours if self.more_is_better else self.ours / self.limit

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is reached; None if there is none, or nothing to compare with."""
        if self.aim is None:
            return None
        if self.aim_is == "times better":
            return None if self.ratio is None else self.ratio >= self.aim
        return self.ours <= self.aim


def write_rows(file: Path, rows: list[Row]) -> None:
    """Write the lines of one benchmark, as JSON."""
    file.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) + "\n")


def read_rows(file: Path) -> list[Row]:
    """Read what `write_rows` wrote."""
    return [Row(**row) for row in json.loads(file.read_text())]


def add_rows_option(parser: argparse.ArgumentParser) -> None:
    """Add the option by which `run_all.py` has a benchmark hand its lines on."""
    parser.add_argument("--rows", type=Path, metavar="FILE", help="also write the lines for `make bench` to FILE")
