"""How many images a second a training step takes, beside the method written down plainly, in one run.

    python benchmarks/training_throughput.py
    python benchmarks/training_throughput.py --small --backbones resnet18 features
    python benchmarks/training_throughput.py --same-losses --backbones features timm.vit_small_patch16_224 --batch 64

A step is the paper's: 128 images of 224x224 (4 a class), network with frozen BatchNorm, embeddings of 512 numbers in
mode rescale, triplet loss on distance-weighted triplets, MDR, backward, Adam. Random images, as uint8 on the device
already; random weights, BatchNorm's statistics from one batch. Both sides start with the same weights. `features`
stands for no network: its steps train the head alone, on vectors of 1,280 numbers that our side reads from a file, with
a hidden layer of 1,024, always 128 of them.

*Ours* is `TrialSession.train_epoch`. *Theirs* is a loop as it is usually written, around the same network in torch's
usual memory layout: the authors' formulas, written down as they read (not their code) and left to autograd, torch's
Adam as it comes, both losses read in each step for a progress bar. Augmentation and normalisation are ours on both
sides and inside of the time. On both, cuDNN measures which convolution is fastest, as it does in lanes.

With --same-losses the other side is a bare PyTorch step: modules of torch and timm, and the losses and the miner of
`mdr_tune.metric`, called in a loop. Both sides compute the same losses; the exit code is 1 if those of the first round
differ. This is what `make bench` runs, for the head and a ViT-S/16 of timm.

With --authors the other side is composed of the authors' own classes, from a checkout of their repository
(https://github.com/kakaoenterprise/AAAI2021_MDR). Their code does not know bf16: its backbone is autocast, its linear
layer and its losses stay float32. It has no `features`.

Rounds of both sides alternate; a number is the median of the rounds. The share of a step in which the device idles
follows from one more round with torch's profiler. The peak of the CUDA memory is taken with one side alone on the
device, images included; on a CPU it is not measured. Needs neither Ray nor MLflow.

Without a GPU, 16 images (--batch N: others) and 7 steps: four minutes on two cores, and a ratio that says little
about a GPU.
"""

import argparse
import gc
import math
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from summary.machine import machine, synchronized_time
from summary.rows import add_rows_option, write_rows
from throughput.authors import AuthorsSide, has_backbone
from throughput.bare import BareSide, has_network
from throughput.idle import busy_seconds
from throughput.plain import PlainSide
from throughput.sides import OurSide, Setting, Side
from throughput.tables import BARE, Measured, print_table, rows

from mdr_tune.cli.terminal import make_console
from mdr_tune.training.official import convert_official

ROUNDS = 5
SMALL_ROUNDS = 7
HEAD_STEPS, SMALL_HEAD_STEPS, HEAD_BATCH = 5, 20, 128
"""Steps of the head alone for each of a network's: they are shorter; and its batch, also on a CPU."""
TOLERANCE = 1e-2
"""Of the mean losses of a round, relative: convolutions in another memory layout may lead to another negative."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure images a second of a training step, ours and a plain one's.")
    parser.add_argument("--authors", type=Path, metavar="DIR", help="compare with a checkout of the authors' code")
    parser.add_argument("--same-losses", action="store_true", help="compare with bare PyTorch and our losses")
    parser.add_argument("--batch", type=int, metavar="N", help="images of a network's batch (default: 128, small: 16)")
    parser.add_argument("--backbones", nargs="+", default=["bn_inception", "resnet50", "features"], metavar="NAME")
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--iterations", type=int, default=100, metavar="N", help="in all rounds (default: 100)")
    parser.add_argument("--small", action="store_true", help="16 images and 7 iterations; the default without a GPU")
    add_rows_option(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and print.

    Returns 1 if sides with the same losses computed different ones, 2 if there is no checkout of the authors' code
    where --authors says, or --same-losses has no such network.
    """
    arguments = make_parser().parse_args(argv)
    console = make_console()
    if arguments.authors is not None and not (arguments.authors / "model" / "embedding.py").is_file():
        print(f"--authors {arguments.authors}: no checkout of AAAI2021_MDR (no model/embedding.py)", file=sys.stderr)
        return 2
    if arguments.same_losses and not all(map(has_network, arguments.backbones)):
        print("--same-losses: --backbones may be features and timm's (timm.NAME)", file=sys.stderr)
        return 2
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    small = arguments.small or device.type == "cpu"
    console.print(machine(device), style="dim")
    results = []
    for backbone in arguments.backbones:
        for precision in arguments.precisions:
            setting = Setting(backbone, precision, device, arguments.batch or (16 if small else 128))
            if setting.is_head_only:
                setting = replace(setting, batch_size=HEAD_BATCH)
            if setting.is_head_only and precision != arguments.precisions[0]:
                continue
            rounds, iterations = (SMALL_ROUNDS, 1) if small else (ROUNDS, max(1, arguments.iterations // ROUNDS))
            if setting.is_head_only:
                iterations *= SMALL_HEAD_STEPS if small else HEAD_STEPS
            results.append(measure(setting, rounds, iterations, arguments.authors, arguments.same_losses))
            console.print(f"{setting.name} done", style="dim")
    print_table(console, results)
    if arguments.rows is not None:
        write_rows(arguments.rows, rows(results))
    different = [result for result in results if result.compares_losses and not _agree(result.first_losses)]
    for result in different:
        ours, theirs = result.first_losses
        console.print(f"{result.setting.name}: the first round's losses differ: {ours}, {theirs}", style="red")
    return int(bool(different))


def _agree(losses: tuple[float, float]) -> bool:
    return math.isclose(*losses, rel_tol=TOLERANCE)


def measure(
    setting: Setting, rounds: int, iterations: int, authors: Path | None = None, same_losses: bool = False
) -> Measured:
    """Time both sides in turn, after their peak memory, each alone, and a warm-up round."""
    with_authors = authors is not None and not same_losses and has_backbone(setting.backbone)
    if with_authors and str(authors) not in sys.path:
        sys.path.insert(0, str(authors))
    other: type[BareSide | AuthorsSide | PlainSide] = (
        BareSide if same_losses else AuthorsSide if with_authors else PlainSide
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's, of an argument that the authors' code uses
        peaks = (peak_memory(OurSide, setting, iterations), peak_memory(other, setting, iterations))
        ours, theirs = OurSide(setting, iterations), other(setting, iterations)
    if same_losses:
        ours.start_with(theirs.net)
    else:
        state = theirs.net.state_dict()
        ours.start_as(convert_official(state, "rescale")[0].state_dict() if with_authors else state)
    sides: tuple[Side, Side] = (ours, theirs)
    first_losses = (ours.run_round(), theirs.run_round())
    seconds: tuple[list[float], list[float]] = ([], [])
    losses = [0.0, 0.0]
    for _ in range(rounds):
        for number, side in enumerate(sides):
            start = synchronized_time(setting.device)
            losses[number] = side.run_round()
            seconds[number].append(synchronized_time(setting.device) - start)
    busy = [None if same_losses else busy_seconds(side.run_round, setting.device) for side in sides]
    images = iterations * setting.batch_size
    return Measured(
        setting,
        BARE if same_losses else "the authors' code" if with_authors else "the method written plainly",
        rounds * iterations,
        ([images / value for value in seconds[0]], [images / value for value in seconds[1]]),
        peaks,
        (busy[0] and busy[0] / iterations, busy[1] and busy[1] / iterations),
        (losses[0], losses[1]),
        first_losses,
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
