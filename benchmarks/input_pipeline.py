"""How many training images a second one core makes ready, beside the common way by Pillow, in one run.

    python benchmarks/input_pipeline.py

*Pillow*: each JPEG (500 x 375, as CUB-200-2011's) is decoded by Pillow, brought to 256 x 256 and its random crop to
224 x 224, both with Lanczos' filter, mirrored by chance, normalised for BN-Inception, and 128 of them are stacked: what
the authors' code does, by the same transforms of torchvision.

*Ours, cache on*: `InputPipeline` on the cache of decoded 256 x 256 images, with RandomResizedCrop (Lanczos' filter too,
and the same pixels), then `normalize` of BN-Inception. *cache off* decodes in each read. The making of the cache is
timed apart; it happens once for all trials.

*not normalised* ends with uint8 images, which is what our pipeline yields: normalising is the model's part, on its
device. All else ends with a float32 batch (128, 3, 224, 224). The ratio is to Pillow's side that ends with the same.

The process is bound to one core, background threads too, and torch computes with one thread. Left out on both sides:
what a DataLoader adds, that is its worker processes and the passing of batches between them; reading from a cold disk:
files and cache are in the page cache. Rounds of the sides alternate, after a warm-up round; a number is the median of
the rounds. Needs neither Ray nor MLflow, and no network.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pipeline.photos import write_photos
from pipeline.sides import BATCH_SIZE, IMAGE_SIZE, RESIZE, OurSide, PillowSide, Side
from pipeline.tables import Measured, print_table, rows
from summary.machine import machine
from summary.rows import add_rows_option, write_rows

from mdr_tune.cli.terminal import make_console
from mdr_tune.data.dataset import Images
from mdr_tune.data.images.image_files import open_images
from mdr_tune.util.progress import no_progress


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure images a second on one core, ours and Pillow's.")
    parser.add_argument("--images", type=int, default=512, metavar="N", help="JPEG files to write (default: 512)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="of each side (default: 7)")
    add_rows_option(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    arguments = make_parser().parse_args(argv)
    console = make_console()
    with one_core(), tempfile.TemporaryDirectory(prefix="mdr_tune-benchmark-") as folder:
        console.print(machine(torch.device("cpu")), style="dim")
        measured = measure(Path(folder), arguments.images, arguments.rounds)
    print_table(console, measured)
    if arguments.rows is not None:
        write_rows(arguments.rows, rows(measured))
    return 0


@contextmanager
def one_core() -> Iterator[None]:
    """Bind this thread, and those that it starts, to one core, and torch to one thread."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {max(cores)})
    torch.set_num_threads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)


def measure(folder: Path, count: int, rounds: int) -> Measured:
    """Write the files, make the cache, and time all sides in turn."""
    files = folder / "photos"
    files.mkdir()
    names = write_photos(files, count)
    start = time.perf_counter()
    cached = open_photos(files, names, folder, cache=True)
    build_s = time.perf_counter() - start
    decoded = open_photos(files, names, folder, cache=False)
    photos = [files / name for name in names]
    sides: list[Side] = [
        PillowSide(photos),
        PillowSide(photos, normalize=False),
        OurSide("ours, cache on", cached, steps=4),
        OurSide("ours, cache on", cached, steps=4, normalize=False),
        OurSide("ours, cache off", decoded, steps=1),
    ]
    speeds: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in range(rounds + 1):
        for side in sides:
            speed = run_round(side, number, count)
            if number:  # the first warms up
                speeds[side.name].append(speed)
    file_bytes = sum((files / name).stat().st_size for name in names) / count
    return Measured(count, file_bytes, build_s, count * 3 * RESIZE**2, speeds)


def open_photos(root: Path, names: list[str], folder: Path, *, cache: bool) -> Images:
    """Return all images of the files, from a cache or not."""
    images, _ = open_images("photos", root, names, folder, no_progress, resize=RESIZE, cache=cache, corrupt="refuse")
    return images


def run_round(side: Side, number: int, count: int) -> float:
    """Make a round's batches of images drawn at random; returns images a second."""
    generator = torch.Generator().manual_seed(number)
    indices = torch.randint(count, (side.steps, BATCH_SIZE), generator=generator)
    start = time.perf_counter()
    for batch in side.batches(number, indices):
        assert batch.shape == (BATCH_SIZE, 3, IMAGE_SIZE, IMAGE_SIZE), batch.shape
        assert batch.dtype == side.dtype, batch.dtype
    return indices.numel() / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
