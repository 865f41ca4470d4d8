"""What a frozen network's features take to make, and what trials on them take, in one run.

    python benchmarks/frozen_features.py
    python benchmarks/frozen_features.py --images 10000 --rounds 1 --trials 300       # the aims' sizes; 50 minutes

*features*: those of photos in an image cache, by ResNet-18 with random weights, as a trial makes and keeps them; beside
a bare forward pass of torchvision's network over the same cache, in batches of the same size. All is in the page cache.

*steps*: a trial that trains the head alone (hidden layer of 1,024, embeddings of 512, triplets, MDR, 128 images) on
these features, beside the same trial end to end, that trains the network as well. Their first steps have equal losses.

*search*: launch.py in a process of its own, with all of MLflow: TPE over three parameters, trials of 300 steps in 10
epochs on 4,000 vectors of 512 numbers, as many lanes as there are cores. The time of 300 trials is extrapolated from
the last tenth of those that were run. The launch fails if one of its trials does.

Rounds of both sides alternate, after a warm-up; a number is the median. The exit code is 1 if both sides computed
different things. Takes about seven minutes on two quiet cores.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from frozen import making, search, steps
from frozen.network import open_photos, trial, write_weights
from frozen.tables import Measured, print_details, rows
from summary.machine import machine
from summary.rows import add_rows_option, write_rows
from summary.tables import print_table

from mdr_tune.cli.terminal import make_console
from mdr_tune.data.listings.listing import ChosenImages

SIZE = 224
WARM_UP = 64
"""Images."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure trials on the features of a frozen network.")
    parser.add_argument("--images", type=int, default=512, metavar="N", help="of a round (default: 512, at least 256)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of both sides (default: 3)")
    parser.add_argument("--trials", type=int, default=60, metavar="N", help="of the search (default: 60)")
    add_rows_option(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns 1 if two sides computed different things."""
    arguments = make_parser().parse_args(argv)
    console = make_console()
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    console.print(machine(device), style="dim")
    with tempfile.TemporaryDirectory(prefix="frozen-") as name:
        folder = Path(name)
        with mock.patch.dict(os.environ, {"MDR_TUNE_CACHE": str(folder / "cache")}):
            measured = measure(folder, arguments.images, arguments.rounds, arguments.trials, device)
    print_details(console, measured)
    print_table(console, rows(measured), "Trials on the features of a frozen network")
    if arguments.rows is not None:
        write_rows(arguments.rows, rows(measured))
    return int(bool(measured.differences()))


def measure(folder: Path, count: int, rounds: int, trials: int, device: torch.device, size: int = SIZE) -> Measured:
    """Measure all three, one after the other; `folder` is empty, and `count` the number of images of a round."""
    images, weights = open_photos(folder, count, size), folder / "resnet18.pt"
    write_weights(weights, images)
    warm_up = ChosenImages(images, np.arange(min(WARM_UP, count)))
    made = making.measure(trial(weights, "none"), [warm_up, *[images] * rounds], weights, device)
    stepped = steps.measure(weights, images, rounds, device)
    apart = folder / "search"
    apart.mkdir()
    return Measured(count, size, made[:2], made[2], stepped[:2], stepped[2], search.run(apart, trials))


if __name__ == "__main__":
    sys.exit(main())
