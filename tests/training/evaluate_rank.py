"""One rank of the evaluation's tests: evaluates and examines splits with exact ties and saves what came out.

Run as a script.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from mdr_tune.backbones import Backbone
from mdr_tune.config.chosen_metrics import MetricsConfig
from mdr_tune.data import ImageSplit
from mdr_tune.data.dataset import ImagePairs
from mdr_tune.metric import verification
from mdr_tune.records.query_details import ShownImage
from mdr_tune.training import EmbeddingModel, Ranks
from mdr_tune.training.evaluate import evaluate
from mdr_tune.training.examine import examine

IMAGE_SIZE = 2
RECALL_KS = (2, 5, 1000)
METRICS = MetricsConfig(
    map_at=[1, 3, 20, 1000], precision_at=[1, 4], mrr=True, nmi=True, verification={"far": [0.3, 0.01]}
)
THRESHOLDS = (2.0, 0.5)
"""Squared distances, one for each FAR."""
ARRAYS = ("labels", "first_hit", "average_precision", "r_precision", "centre_labels", "centres")
"""Of `TestDetails`."""


class Pixels(Backbone):
    """The pixels are the features: of small whole numbers, so that distances are exact and many are equal."""

    name, in_channels, image_size, min_image_size, feature_size = "pixels", 1, IMAGE_SIZE, 1, IMAGE_SIZE**2

    def __init__(self) -> None:
        super().__init__()
        self.set_normalization((0.0,), (1.0,))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


class RecordedImages:
    """Images that remember which of them were read."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images, self.read, self.dtype = images, [], images.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        self.read += indices.tolist()
        return self.images[indices]


def make_model() -> EmbeddingModel:
    """Return the model whose embedding of an image is its four pixels."""
    model = EmbeddingModel(Pixels(), IMAGE_SIZE**2, "none")
    with torch.no_grad():
        model.linear.weight.copy_(torch.eye(IMAGE_SIZE**2))
        model.linear.bias.zero_()
    return model


def make_split(count: int, seed: int, gallery: ImageSplit | None = None, pairs: int = 0) -> ImageSplit:
    """Return images of 5 x 5 pixels, of which the middle has the values 0, 1 and 2, and the margin any.

    The split has a list of so many `pairs`, or none.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 1, 5, 5), dtype=torch.uint8, generator=generator)
    images[:, :, 1:4, 1:4] = torch.randint(3, (count, 1, 3, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(7, (count,), generator=generator)
    if not pairs:
        return ImageSplit(RecordedImages(images), labels, gallery)
    everything = labels if gallery is None else torch.cat([labels, gallery.labels])
    indices = torch.randint(len(everything), (pairs, 2), generator=generator)
    is_same = everything[indices[:, 0]] == everything[indices[:, 1]]
    return ImageSplit(RecordedImages(images), labels, gallery, pairs=ImagePairs(indices, is_same))


def make_splits() -> dict[str, ImageSplit]:
    """Return the splits by name; no number of images but one is a multiple of 2 or 3."""
    return {
        "each other": make_split(25, seed=0),
        "several batches": make_split(601, seed=1),
        "query and gallery": make_split(13, seed=2, gallery=make_split(29, seed=3)),
        "fewer queries than ranks": make_split(2, seed=4, gallery=make_split(7, seed=5)),
        "a list of pairs": make_split(23, seed=8, pairs=40),
        "a list of pairs with a gallery": make_split(9, seed=9, gallery=make_split(14, seed=10), pairs=41),
        "one item": make_split(5, seed=6, gallery=make_split(1, seed=7)),
    }


def evaluate_splits(ranks: Ranks) -> dict[str, dict[str, Any]]:
    """Return the metrics of each split, and which images of its queries and its gallery were read for them."""
    model, seen = make_model(), {}
    for name, split in make_splits().items():
        metrics = evaluate(model, split, ranks, RECALL_KS, IMAGE_SIZE, metrics=METRICS, thresholds=THRESHOLDS)
        parts = [split] if split.gallery is None else [split, split.gallery]
        seen[name] = {"metrics": metrics, "read": [part.images.read for part in parts]}
    return seen


def examine_splits(ranks: Ranks) -> dict[str, dict[str, Any]]:
    """Return the metrics and the details of each split, as tensors and plain values."""
    model, seen = make_model(), {}
    for name, split in make_splits().items():
        metrics, details = examine(model, split, ranks, RECALL_KS, IMAGE_SIZE, metrics=METRICS, thresholds=THRESHOLDS)
        shown = [
            (query.kind, query.index, query.score, [_plain(image) for image in (query.image, *query.neighbours)])
            for query in details.shown
        ]
        arrays = {array: torch.from_numpy(getattr(details, array)) for array in ARRAYS}
        further = {metric: torch.from_numpy(values) for metric, values in details.further.items()}
        seen[name] = {"metrics": metrics, "shown": shown, "further": further, **arrays}
    return seen


def _plain(image: ShownImage) -> tuple[int, list[int]]:
    return image.label, image.pixels.flatten().tolist()


def main() -> None:
    rank, world_size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    verification._BLOCK_ENTRIES["cpu"] = 700  # so that each rank counts some pairs
    dist.init_process_group("gloo", init_method=f"file://{folder}/store{world_size}", rank=rank, world_size=world_size)
    ranks = Ranks.current(torch.device("cpu"))
    torch.save((evaluate_splits(ranks), examine_splits(ranks)), folder / f"{world_size}_ranks_{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
