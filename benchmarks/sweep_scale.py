"""What a report costs in a search of thousands of trials, at its start and at its end: ours against plain Ray Tune.

    python benchmarks/sweep_scale.py
    python benchmarks/sweep_scale.py --trials 500 --both-trials 500 --rounds 1 --json scale.json

Both sides run the same search in turn, each in a process and a Ray of its own: TPE over three parameters, one trial at
a time, trials that train nothing and report 10 epochs, each with a checkpoint of 100 bytes. As Ray's side slows down,
the sides are compared by the first 100 trials of the search, three times, and ours goes through all of it once.
- *ours*: what launch.py wires together (Tuner, ArmSearch, TrialSource, TuneEvents, Ledger, Journal, Tracker on a
  sqlite store, the status line), with another trainable than a lane's.
- *Ray's*: `OptunaSearch` with the same sampler on a sqlite store, Ray's `MLflowLoggerCallback` on another, actors
  reused, all else as Tune has it, its own loggers to files among it; as Ray's documentation does it.
  TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=1 in the environment runs it without them.
Stamped on the driver when all who are told of a report have been told: time, processor time, memory. Both sides draw
the same parameters, so that their trials must have the same values; the exit code is 1 if not. A number is the median
of the rounds; the reports before the ones that are compared are the warm-up.

Takes about 14 minutes on two quiet cores, half of them for our 20,000 reports. Leaves nothing behind but the file that
--json names.
"""

import argparse
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from summary.process import run_module
from summary.rows import add_rows_option, write_rows

if TYPE_CHECKING:
    from scale.meter import Stamps

TABLE_WIDTH = 110
"""Columns; where the output is no terminal, rich takes 80, in which the numbers are cut."""
TIMEOUT_S = 7200
"""Of one side's search; 2,000 trials take ten minutes on two cores."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure what a report costs in a search of thousands of trials.")
    parser.add_argument("--trials", type=_count, default=2000, metavar="N", help="trials (default: 2000)")
    parser.add_argument("--epochs", type=_count, default=10, metavar="N", help="reports of each (default: 10)")
    parser.add_argument(
        "--both-trials", type=_count, default=100, metavar="N", help="of them, run by both sides (default: 100)"
    )
    parser.add_argument("--rounds", type=_count, default=3, metavar="N", help="of both sides (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all stamps to FILE")
    add_rows_option(parser)
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def main() -> int:
    """Measure and print; returns 1 if the two sides did not run the same trials."""
    from scale.tables import print_comparison, print_totals, print_windows, rows

    arguments = make_parser().parse_args()
    both = min(arguments.both_trials, arguments.trials)
    if both * arguments.epochs < 2:
        print("This needs two reports at least.", file=sys.stderr)
        return 2
    console = Console(highlight=False)
    console.width = max(console.width, TABLE_WIDTH)
    console.print(f"{len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f} before the start", style="dim")
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        ours.append(run_side("ours", arguments.trials, arguments.epochs, both))
        theirs.append(run_side("theirs", arguments.trials, arguments.epochs, both))
    longer = []
    if both < arguments.trials:
        longer.append(run_side("ours", arguments.trials, arguments.epochs, arguments.trials))
    whole = [*ours, *longer][-1]
    print_windows(console, ours, theirs, whole)
    print_totals(console, ours, theirs, whole)
    if arguments.json is not None:
        sides = {"ours": ours, "theirs": theirs, "whole": [whole]}
        found = {name: [dataclasses.asdict(stamps) for stamps in rounds] for name, rounds in sides.items()}
        arguments.json.write_text(json.dumps(found) + "\n")
    if arguments.rows is not None:
        write_rows(arguments.rows, rows(ours, theirs, whole))
    return 0 if print_comparison(console, [*ours, *longer], theirs) else 1


def run_side(side: Literal["ours", "theirs"], trials: int, epochs: int, first: int) -> "Stamps":
    """Run one side in a process of its own, with new stores.

    Args:
        side: Names the module of `scale`.
        trials: Of the search; the sampler too goes by it.
        epochs: Of each trial.
        first: How many of the trials are run.

    Raises:
        RuntimeError: It failed; the text is what it printed.
    """
    from scale.meter import Stamps

    folder = Path(tempfile.mkdtemp(prefix="scale-"))
    temporary = {"RAY_TMPDIR": str(folder), "TMPDIR": str(folder)}  # Ray's processes leave folders there
    arguments = [str(folder / "stamps.json"), str(folder / "runs"), *map(str, (trials, epochs, first))]
    try:
        run_module(f"scale.{side}", arguments, temporary, TIMEOUT_S)
        return Stamps.load_from(folder / "stamps.json")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
