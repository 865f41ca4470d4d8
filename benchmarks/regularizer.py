"""MDR's forward and backward, and the whole step on the embeddings, beside the formulas as written, in one run.

    python benchmarks/regularizer.py
    python benchmarks/regularizer.py --rounds 30 --threads 1

Random embeddings of 512 numbers, four a class, float32. *Ours*: `MDRLoss`, and with triplets `DistanceWeightedMiner`
and `triplet_margin_loss`, which training calls. *Textbook*: the authors' formulas, written down as they read (not
their code) and left to autograd. Both sides' gradients are compared; the exit code is 1 if they differ.

Rounds of both sides, and of one matrix product N x N x D, alternate, after a warm-up; a number is the median of the
rounds. Memory: the most bytes of tensors that a step holds at once. Runs on a GPU if there is one. Needs neither Ray
nor MLflow; takes half a minute.
"""

import argparse
import sys

import torch
from regularizer_speed.measure import measure
from regularizer_speed.steps import Problem
from regularizer_speed.tables import print_table, rows
from summary.machine import machine
from summary.rows import add_rows_option, write_rows

from mdr_tune.cli.terminal import make_console

PROBLEMS = (
    Problem(128),
    Problem(512),
    Problem(2048),
    Problem(128, with_triplets=True),
    Problem(512, with_triplets=True),
    Problem(2048, with_triplets=True),
)
ROUNDS = 21
TOLERANCE = 1e-2
"""Of the gradients: by another order of sums a pair may fall on the other side of a level, which turns its pull."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure MDR's forward and backward, ours and as written.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"of each side (default: {ROUNDS})")
    parser.add_argument("--threads", type=int, metavar="N", help="default: as many as torch chooses")
    add_rows_option(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns 1 if the sides' gradients differ."""
    arguments = make_parser().parse_args(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    console = make_console()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    console.print(machine(device), style="dim")
    results = [measure(problem, arguments.rounds, device) for problem in PROBLEMS]
    print_table(console, results)
    if arguments.rows is not None:
        write_rows(arguments.rows, rows(results))
    return int(any((result.gradients_differ_by or 0) > TOLERANCE for result in results))


if __name__ == "__main__":
    sys.exit(main())
