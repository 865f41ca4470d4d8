"""What two DDP ranks with a thread each reach of the speed of one rank with two threads, in one run.

    python benchmarks/glyph_training.py

Both train `conv4` on glyphs with the same global batches of 64, triplets and MDR (`TrialSession`), without evaluation;
the losses must agree, since the training does not depend on the number of ranks; the exit code is 1 if they do not.
Rounds of both sides alternate, after one that is not timed; a number is the median. Needs two CPUs, neither Ray nor
MLflow; takes a minute.
"""

import argparse
import math
import os
import sys
from statistics import median

import torch
from ranks.sides import RanksSide
from rich.table import Table
from summary.machine import machine
from summary.rows import Row, add_rows_option, write_rows

from mdr_tune.cli.terminal import make_console
from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.data import load_dataset

ROUNDS = 7
AIM = 0.9
MIN_CPUS = 2
TOLERANCE = 1e-2
"""Of the mean losses of the first round, relative: a sum in another order leads to another negative now and then."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure the training of two ranks beside that of one.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"of each side (default: {ROUNDS})")
    add_rows_option(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns 1 if the sides' losses differ, 2 if this machine is too small."""
    arguments = make_parser().parse_args(argv)
    if len(os.sched_getaffinity(0)) < MIN_CPUS:
        print(f"This needs {MIN_CPUS} CPUs, one for each rank.", file=sys.stderr)
        return 2
    console = make_console()
    console.print(machine(torch.device("cpu")), style="dim")
    load_dataset(GlyphsDataConfig())  # rendered once, before the ranks read it
    with RanksSide(2, 1) as two, RanksSide(1, 2) as one:
        for _ in range(arguments.rounds + 1):
            two.run_round()
            one.run_round()
    table = Table(title="Images a second in training", title_justify="left", title_style="bold")
    for column in ("", "images/s", "rounds"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for side in (two, one):
        del side.speeds[0]  # the round that warmed up
        table.add_row(side.name, f"{median(side.speeds):.0f}", " ".join(f"{speed:.0f}" for speed in side.speeds))
    console.print(table)
    row = Row(
        f"glyph training, {two.name}",
        one.name,
        "images/s",
        median(two.speeds),
        median(one.speeds),
        more_is_better=True,
        aim=AIM,
    )
    console.print(f"ratio {row.ratio:.2f} (aim: {AIM})")
    if arguments.rows is not None:
        write_rows(arguments.rows, [row])
    return int(not math.isclose(two.losses[0], one.losses[0], rel_tol=TOLERANCE))


if __name__ == "__main__":
    sys.exit(main())
