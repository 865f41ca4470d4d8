"""How many images a second a training step takes, beside the authors' code, in one run.

    git clone https://github.com/kakaoenterprise/AAAI2021_MDR /tmp/authors
    python benchmarks/training_throughput.py --authors /tmp/authors
    python benchmarks/training_throughput.py --small --backbones resnet18 googlenet

A step is the paper's: 128 images of 224x224 (4 a class), network with frozen BatchNorm, embeddings of 512 numbers in
mode rescale, triplet loss on distance-weighted triplets, MDR, backward, Adam. Random images, as uint8 on the device
already; random weights, BatchNorm's statistics from one batch. Both sides start with the same weights.

*Ours* is `TrialSession.train_epoch`. *Theirs* is the step of the authors' run.py, composed of their model, sampler,
loss and MDR, imported from the checkout that --authors names. The augmentation and the normalisation, which run.py
leaves to the workers of a DataLoader, are ours on both sides and inside of the time; so is what run.py reads back for
its progress bar. Built around their code, from outside: bf16, which it does not know, is autocast for its backbone,
while its linear layer and its losses stay float32.

Rounds of both sides alternate; a number is the median of the rounds. The peak of the CUDA memory is taken with one side
alone on the device, images included; on a CPU it is not measured. Needs neither Ray nor MLflow.

Without a GPU, 16 images and 7 steps: two minutes on two cores, and a ratio that says little about a GPU.
"""

import argparse
import statistics
import sys
import warnings
from pathlib import Path

import torch
from summary.machine import machine, synchronized_time
from throughput.authors import AuthorsSide, has_backbone
from throughput.sides import OurSide, Setting, Side
from throughput.tables import Measured, print_table

from mdr_tune.cli.terminal import make_console

ROUNDS = 5
SMALL_ROUNDS = 7


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure images a second of a training step, ours and the authors'.")
    parser.add_argument("--authors", type=Path, metavar="DIR", help="a checkout of the authors' repository")
    parser.add_argument("--backbones", nargs="+", default=["bn_inception", "resnet50"], metavar="NAME")
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--iterations", type=int, default=100, metavar="N", help="in all rounds (default: 100)")
    parser.add_argument("--small", action="store_true", help="16 images and 7 iterations; the default without a GPU")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns 2 if there is no checkout of the authors' code where --authors says."""
    arguments = make_parser().parse_args(argv)
    console = make_console()
    if arguments.authors is not None and not (arguments.authors / "model" / "embedding.py").is_file():
        print(f"--authors {arguments.authors}: no checkout of AAAI2021_MDR (no model/embedding.py)", file=sys.stderr)
        return 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    small = arguments.small or device.type == "cpu"
    console.print(machine(device), style="dim")
    results = []
    for backbone in arguments.backbones:
        for precision in arguments.precisions:
            setting = Setting(backbone, precision, device, 16 if small else 128)
            rounds, iterations = (SMALL_ROUNDS, 1) if small else (ROUNDS, max(1, arguments.iterations // ROUNDS))
            results.append(measure(setting, rounds, iterations, arguments.authors))
            console.print(f"{backbone} {precision} done", style="dim")
    print_table(console, results, arguments.authors is not None)
    return 0


def measure(setting: Setting, rounds: int, iterations: int, authors: Path | None) -> Measured:
    """Time both sides in turn, after their peak memory, each alone, and a warm-up round."""
    kinds: list[type[Side]] = [OurSide]
    if authors is not None and has_backbone(setting.backbone):
        sys.path[:0] = [] if str(authors) in sys.path else [str(authors)]
        kinds.append(AuthorsSide)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's, of an argument that the authors' code uses
        peaks = [peak_memory(kind, setting, iterations) for kind in kinds]
        ours = OurSide(setting, iterations)
        sides: list[Side] = [ours]
        if AuthorsSide in kinds:
            theirs = AuthorsSide(setting, iterations)
            ours.start_as(theirs.net)
            sides.append(theirs)
    for side in sides:
        side.run_round()
    seconds: list[list[float]] = [[] for _ in sides]
    losses = [0.0 for _ in sides]
    for _ in range(rounds):
        for number, side in enumerate(sides):
            start = synchronized_time(setting.device)
            losses[number] = side.run_round()
            seconds[number].append(synchronized_time(setting.device) - start)
    images = iterations * setting.batch_size
    speeds = [[images / value for value in values] for values in seconds]
    return Measured(
        setting, rounds * iterations, [statistics.median(values) for values in speeds], speeds, peaks, losses
    )


def peak_memory(kind: type[Side], setting: Setting, iterations: int) -> float | None:
    """Return the peak of the CUDA memory of a round with this side alone, in GiB; None on a CPU."""
    if setting.device.type != "cuda":
        return None
    torch.cuda.empty_cache()
    side = kind(setting, iterations)
    torch.cuda.reset_peak_memory_stats(setting.device)
    side.run_round()
    return torch.cuda.max_memory_allocated(setting.device) / 2**30


if __name__ == "__main__":
    sys.exit(main())
