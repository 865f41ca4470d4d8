"""Retrieval quality of a model on a split, the work shared by the ranks."""

from collections.abc import Callable, Sequence
from typing import TypedDict

import torch

from mdr_tune.data.augmentations.cropping import center_crop
from mdr_tune.data.dataset import Images, ImageSplit
from mdr_tune.data.prefetch import prefetch
from mdr_tune.metric import (
    gather_without_gradient,
    metrics_from_sums,
    score_queries,
    shard_sizes,
    shard_slice,
)
from mdr_tune.metric.full_precision import full_float32
from mdr_tune.metric.retrieval import DEFAULT_KS
from mdr_tune.training.model import EmbeddingModel
from mdr_tune.training.ranks import Ranks

EVALUATION_BATCH = 256
"""Images embedded at a time, if no other number is given."""


def evaluate(
    model: EmbeddingModel,
    split: ImageSplit,
    ranks: Ranks,
    recall_ks: Sequence[int] = DEFAULT_KS,
    image_size: int | None = None,
    on_batch: Callable[[], None] = lambda: None,
    batch_size: int = EVALUATION_BATCH,
) -> dict[str, float]:
    """Return Recall@K, MAP@R and R-precision of each image as a query to the gallery, or to all others, in percent.

    The value is the same on all ranks, and up to rounding the same for any number of them: nothing is padded, each
    image is embedded and each query scored once. The network computes in full float32, whatever it was trained in.

    Args:
        model: Is in the mode it was in, training or not, afterwards.
        split: The queries, and the gallery if there is one.
        ranks: All of them make this call.
        recall_ks: The ranks K; those beyond what can be retrieved are left out, and 1 is always among them.
        image_size: Height and width, in pixels, of the middle of the images that the model sees; None is all of them.
        on_batch: Called after each batch that this rank has embedded.
        batch_size: Images that this rank embeds at a time. Where a GPU has no room for them, it is halved.

    Returns:
        `recall_at_{K}` for each K, ascending, `map_at_r` and `r_precision`.

    Raises:
        ValueError: There is no query or nothing to retrieve, images are smaller than `image_size`, or embeddings are
            not finite.
    """
    ks = usable_ks(split, recall_ks)
    sums = score_queries(ks=ks, **embed_split(model, split, ranks, image_size, on_batch, batch_size))
    return metrics_from_sums(ranks.all_reduce(sums), ks)


def usable_ks(split: ImageSplit, recall_ks: Sequence[int]) -> list[int]:
    """Return the ranks K that can be retrieved, ascending, 1 among them; ValueError if nothing can."""
    retrievable = len(split) - 1 if split.gallery is None else len(split.gallery)
    if len(split) == 0 or retrievable < 1:
        queries = f"{len(split)} queries and a gallery of {retrievable}"
        has = f"{len(split)} images" if split.gallery is None else queries
        raise ValueError(f"retrieval needs a query and something to retrieve, the split has {has}")
    return [k for k in sorted({1, *recall_ks}) if k <= retrievable]


class EmbeddedSplit(TypedDict):
    """A split as `score_queries` takes it, with the queries of this rank."""

    embeddings: torch.Tensor
    labels: torch.Tensor
    rows: slice
    gallery: torch.Tensor | None
    gallery_labels: torch.Tensor | None


def embed_split(
    model: EmbeddingModel,
    split: ImageSplit,
    ranks: Ranks,
    image_size: int | None = None,
    on_batch: Callable[[], None] = lambda: None,
    batch_size: int = EVALUATION_BATCH,
) -> EmbeddedSplit:
    """Embed queries and gallery; arguments as of `evaluate`."""
    gallery, device = split.gallery, ranks.device

    def embed_all(images: Images) -> torch.Tensor:
        return embed(model, images, ranks, image_size, on_batch, batch_size)

    return EmbeddedSplit(
        embeddings=embed_all(split.images),
        labels=split.labels.to(device),
        rows=shard_slice(len(split), ranks.world_size, ranks.rank),
        gallery=None if gallery is None else embed_all(gallery.images),
        gallery_labels=None if gallery is None else gallery.labels.to(device),
    )


@torch.no_grad()
def embed(
    model: EmbeddingModel,
    images: Images,
    ranks: Ranks,
    image_size: int | None = None,
    on_batch: Callable[[], None] = lambda: None,
    batch_size: int = EVALUATION_BATCH,
) -> torch.Tensor:
    """Embed all images, each rank a slice, the next batch being read while the network computes.

    Arguments and errors are those of `evaluate`.

    Returns:
        (n, D), in order, on every rank.
    """

    def read(rows: torch.Tensor) -> torch.Tensor:
        batch = images[rows]
        if image_size is not None:
            batch = center_crop(batch, image_size)
        if ranks.device.type != "cuda" or batch.device.type == "cuda":
            return batch
        with torch.cuda.device(ranks.device):  # a thread starts out with GPU 0, and would open a context there
            return torch.empty_like(batch, pin_memory=True).copy_(batch)  # without the margins of the crop

    mine = shard_slice(len(images), ranks.world_size, ranks.rank)
    # A rank without an image, of a split that has fewer than there are ranks, asks for none.
    batches = torch.arange(mine.start, mine.stop).split(batch_size) if mine.stop > mine.start else ()
    parts = [model.linear.weight.new_empty(0, model.linear.out_features)]
    was_training = model.training
    model.eval()
    try:
        for batch in prefetch(read, batches):
            part, batch_size = _forward(model, batch.to(ranks.device, non_blocking=True), batch_size)
            parts.append(part)
            on_batch()
    finally:
        model.train(was_training)
    return gather_without_gradient(torch.cat(parts), shard_sizes(len(images), ranks.world_size), ranks.group)


def _forward(model: EmbeddingModel, images: torch.Tensor, at_once: int) -> tuple[torch.Tensor, int]:
    """Return the embeddings (n, D), and how many images there was room for at a time."""
    while True:
        try:
            with full_float32(images.device.type):
                return torch.cat([model(some) for some in images.split(at_once)]), at_once
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
        # Not above: until the exception is gone, its frames hold what was computed.
        at_once = -(-min(at_once, len(images)) // 2)
        torch.cuda.empty_cache()
