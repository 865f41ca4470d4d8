"""How many images a second a training step takes, beside the method written down plainly, in one run.

    python benchmarks/training_throughput.py
    python benchmarks/training_throughput.py --small --backbones resnet18 features

A step is the paper's: 128 images of 224x224 (4 a class), network with frozen BatchNorm, embeddings of 512 numbers in
mode rescale, triplet loss on distance-weighted triplets, MDR, backward, Adam. Random images, as uint8 on the device
already; random weights, BatchNorm's statistics from one batch. Both sides start with the same weights. The backbone
`features` computes nothing: its steps train the head alone, a linear layer on 1,024 features, without augmentation.

*Ours* is `TrialSession.train_epoch`. *Theirs* is a loop as it is usually written, around the same network in torch's
usual memory layout: the authors' formulas, written down as they read (not their code) and left to autograd, torch's
Adam as it comes, both losses read in each step for a progress bar. Augmentation and normalisation are ours on both
sides and inside of the time. On both, cuDNN measures which convolution is fastest, as it does in lanes.

With --authors the other side is composed of the authors' own classes, from a checkout of their repository
(https://github.com/kakaoenterprise/AAAI2021_MDR). Their code does not know bf16: its backbone is autocast, its linear
layer and its losses stay float32. It has no `features`.

Rounds of both sides alternate; a number is the median of the rounds. The share of a step in which the device idles
follows from one more round with torch's profiler. The peak of the CUDA memory is taken with one side alone on the
device, images included; on a CPU it is not measured. Needs neither Ray nor MLflow.

Without a GPU, 16 images and 7 steps: four minutes on two cores, and a ratio that says little about a GPU.
"""

import argparse
import gc
import sys
import warnings
from pathlib import Path

import torch
from summary.machine import machine, synchronized_time
from summary.rows import add_rows_option, write_rows
from throughput.authors import AuthorsSide, has_backbone
from throughput.idle import busy_seconds
from throughput.plain import PlainSide
from throughput.sides import OurSide, Setting, Side
from throughput.tables import Measured, print_table, rows

from mdr_tune.cli.terminal import make_console
from mdr_tune.training.official import convert_official

ROUNDS = 5
SMALL_ROUNDS = 7
HEAD_STEPS = 5
"""Steps of the head alone for each of a network's: they are shorter."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure images a second of a training step, ours and a plain one's.")
    parser.add_argument("--authors", type=Path, metavar="DIR", help="compare with a checkout of the authors' code")
    parser.add_argument("--backbones", nargs="+", default=["bn_inception", "resnet50", "features"], metavar="NAME")
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--iterations", type=int, default=100, metavar="N", help="in all rounds (default: 100)")
    parser.add_argument("--small", action="store_true", help="16 images and 7 iterations; the default without a GPU")
    add_rows_option(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns 2 if there is no checkout of the authors' code where --authors says."""
    arguments = make_parser().parse_args(argv)
    console = make_console()
    if arguments.authors is not None and not (arguments.authors / "model" / "embedding.py").is_file():
        print(f"--authors {arguments.authors}: no checkout of AAAI2021_MDR (no model/embedding.py)", file=sys.stderr)
        return 2
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    small = arguments.small or device.type == "cpu"
    console.print(machine(device), style="dim")
    results = []
    for backbone in arguments.backbones:
        for precision in arguments.precisions:
            setting = Setting(backbone, precision, device, 16 if small else 128)
            if setting.is_head_only and precision != arguments.precisions[0]:
                continue
            rounds, iterations = (SMALL_ROUNDS, 1) if small else (ROUNDS, max(1, arguments.iterations // ROUNDS))
            iterations *= HEAD_STEPS if setting.is_head_only else 1
            results.append(measure(setting, rounds, iterations, arguments.authors))
            console.print(f"{setting.name} done", style="dim")
    print_table(console, results)
    if arguments.rows is not None:
        write_rows(arguments.rows, rows(results))
    return 0


def measure(setting: Setting, rounds: int, iterations: int, authors: Path | None = None) -> Measured:
    """Time both sides in turn, after their peak memory, each alone, and a warm-up round."""
    with_authors = authors is not None and has_backbone(setting.backbone)
    if with_authors and str(authors) not in sys.path:
        sys.path.insert(0, str(authors))
    other: type[AuthorsSide] | type[PlainSide] = AuthorsSide if with_authors else PlainSide
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's, of an argument that the authors' code uses
        peaks = (peak_memory(OurSide, setting, iterations), peak_memory(other, setting, iterations))
        ours, theirs = OurSide(setting, iterations), other(setting, iterations)
    state = theirs.net.state_dict()
    ours.start_as(convert_official(state, "rescale")[0].state_dict() if with_authors else state)
    sides: tuple[Side, Side] = (ours, theirs)
    for side in sides:
        side.run_round()
    seconds: tuple[list[float], list[float]] = ([], [])
    losses = [0.0, 0.0]
    for _ in range(rounds):
        for number, side in enumerate(sides):
            start = synchronized_time(setting.device)
            losses[number] = side.run_round()
            seconds[number].append(synchronized_time(setting.device) - start)
    busy = [busy_seconds(side.run_round, setting.device) for side in sides]
    images = iterations * setting.batch_size
    return Measured(
        setting,
        "the authors' code" if with_authors else "the method written plainly",
        rounds * iterations,
        ([images / value for value in seconds[0]], [images / value for value in seconds[1]]),
        peaks,
        (busy[0] and busy[0] / iterations, busy[1] and busy[1] / iterations),
        (losses[0], losses[1]),
    )


def peak_memory(kind: type[Side], setting: Setting, iterations: int) -> float | None:
    """Return the peak of the CUDA memory of a round with this side alone, in GiB; None on a CPU."""
    if setting.device.type != "cuda":
        return None
    gc.collect()
    torch.cuda.empty_cache()
    side = kind(setting, iterations)
    torch.cuda.reset_peak_memory_stats(setting.device)
    side.run_round()
    return torch.cuda.max_memory_allocated(setting.device) / 2**30


if __name__ == "__main__":
    sys.exit(main())
