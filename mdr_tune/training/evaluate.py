"""Measure the retrieval quality of a model on a split; the ranks share the work."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypedDict

import torch

from mdr_tune.config.chosen_metrics import NO_OTHERS, MetricsConfig, far_text
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
from mdr_tune.metric.clusters import kmeans_nmi
from mdr_tune.metric.full_precision import full_float32
from mdr_tune.metric.retrieval import DEFAULT_KS
from mdr_tune.metric.verification import Part, Verification, verify, verify_pairs
from mdr_tune.records.objectives import rank_of
from mdr_tune.training.ranks import Ranks

EVALUATION_BATCH = 256
"""Default number of images that a rank embeds at a time."""


class Embeds(Protocol):
    """A network that can be evaluated, such as an `EmbeddingModel`, or an exported graph.

    It maps images (n, C, H, W) to embeddings (n, `embedding_size`) of type `dtype`, and has the modes of a module.
    """

    training: bool

    @property
    def embedding_size(self) -> int:
        """Length of an embedding, D."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the embeddings."""

    def __call__(self, images: torch.Tensor, /) -> torch.Tensor:
        """Return the embeddings (n, D) of `images` (n, C, H, W)."""

    def train(self, mode: bool = True, /) -> object:
        """Go into the mode of training, or of evaluation if `mode` is False."""

    def eval(self) -> object:
        """Go into the mode of evaluation."""


def evaluate(
    model: Embeds,
    split: ImageSplit,
    ranks: Ranks,
    recall_ks: Sequence[int] = DEFAULT_KS,
    image_size: int | None = None,
    on_batch: Callable[[], None] = lambda: None,
    batch_size: int = EVALUATION_BATCH,
    metrics: MetricsConfig = NO_OTHERS,
    thresholds: Sequence[float] = (),
) -> dict[str, float]:
    """Return Recall@K, MAP@R, R-precision and the chosen `metrics` of a model on a split, in percent.

    Each image of the split is a query once. It is compared with the gallery, or with all other images of the split if
    there is no gallery. The metrics are the same on all ranks. Apart from rounding, they do not depend on the number of
    ranks: nothing is padded, each image is embedded once, and each query is scored once. The network computes in full
    float32, whatever precision it was trained in.

    Args:
        model: The model. It is put into eval mode for the call, and back into its former mode afterwards.
        split: The queries, and the gallery if there is one.
        ranks: The ranks that share the work; each of them must make this call.
        recall_ks: The ranks K. Those beyond the number of items to retrieve are left out, and 1 is always added.
        image_size: Height and width, in pixels, of the centre crop that the model sees; None leaves images whole.
        on_batch: Function that is called after each batch that this rank has embedded.
        batch_size: Number of images that this rank embeds at a time. If they do not fit into a GPU's memory, the number
            is halved until they do.
        metrics: Further metrics to compute. A K beyond the number of items to retrieve is left out.
        thresholds: Squared distances, one for each FAR of `metrics.verification`, whose rates are measured too. None of
            them: those rates are left out.

    Returns:
        `recall_at_{K}` for each K, ascending, `map_at_r`, `r_precision`, and the chosen metrics.

    Raises:
        ValueError: There is no query or nothing to retrieve, or images are smaller than `image_size`.
        EmbeddingsNotFinite: Embeddings are not finite, or too large to be ranked.
    """
    ks, further = usable_ks(split, recall_ks), usable_metrics(split, metrics)
    embedded = embed_split(model, split, ranks, image_size, on_batch, batch_size)
    sums = score_queries(ks=ks, further=further, **embedded)
    found = metrics_from_sums(ranks.all_reduce(sums), ks, further)
    return found | whole_split_metrics(split, embedded, ranks, metrics, on_batch, thresholds)


def usable_ks(split: ImageSplit, recall_ks: Sequence[int]) -> list[int]:
    """Return 1 and those of `recall_ks` up to the number of items to retrieve in `split`, ascending.

    Raises:
        ValueError: There is no query, or nothing to retrieve.
    """
    retrievable = _retrievable(split)
    if len(split) == 0 or retrievable < 1:
        queries = f"{len(split)} queries and a gallery of {retrievable}"
        has = f"{len(split)} images" if split.gallery is None else queries
        raise ValueError(f"retrieval needs a query and something to retrieve, the split has {has}")
    return [k for k in sorted({1, *recall_ks}) if k <= retrievable]


def usable_metrics(split: ImageSplit, metrics: MetricsConfig) -> list[str]:
    """Return the names of `metrics` that are means over queries, without a K beyond the number of items to retrieve."""
    return [name for name in metrics.of_queries() if (rank_of(name) or 0) <= _retrievable(split)]


def _retrievable(split: ImageSplit) -> int:
    return len(split) - 1 if split.gallery is None else len(split.gallery)


class EmbeddedSplit(TypedDict):
    """The arguments of `score_queries` for a split: all embeddings, and the `rows` that are this rank's queries."""

    embeddings: torch.Tensor
    labels: torch.Tensor
    rows: slice
    gallery: torch.Tensor | None
    gallery_labels: torch.Tensor | None


def embed_split(
    model: Embeds,
    split: ImageSplit,
    ranks: Ranks,
    image_size: int | None = None,
    on_batch: Callable[[], None] = lambda: None,
    batch_size: int = EVALUATION_BATCH,
) -> EmbeddedSplit:
    """Return the embeddings of the queries and the gallery of `split`. Arguments and errors are those of `evaluate`."""
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


def whole_split_metrics(
    split: ImageSplit,
    embedded: EmbeddedSplit,
    ranks: Ranks,
    metrics: MetricsConfig,
    on_batch: Callable[[], None],
    thresholds: Sequence[float] = (),
) -> dict[str, float]:
    """Return the chosen `metrics` that are no means over queries. They are the same on all ranks.

    `on_batch` is called every second meanwhile, so that minutes of k-means do not look like a stall. The other
    arguments are those of `evaluate`; `embedded` is the result of `embed_split`.
    """
    found: dict[str, float] = {}
    with _every_second(on_batch):
        if metrics.nmi:
            # Another rank's k-means might end in other clusters by the rounding of another number of threads.
            nmi = kmeans_nmi(embedded["embeddings"], embedded["labels"]) if ranks.rank == 0 else 0.0
            found["nmi"] = float(ranks.all_reduce(torch.tensor(nmi, dtype=torch.float64, device=ranks.device)))
        if metrics.verification is not None:
            verified = _verified(split, embedded, ranks, metrics.verification.far, thresholds)
            found |= _verification_metrics(verified, metrics.verification.far)
    return found


def chosen_thresholds(
    model: Embeds,
    split: ImageSplit,
    ranks: Ranks,
    fars: Sequence[float],
    image_size: int | None = None,
    on_batch: Callable[[], None] = lambda: None,
    batch_size: int = EVALUATION_BATCH,
) -> list[float]:
    """Return for each of `fars` the squared distance below which pairs of `split` are accepted; NaN if there is none.

    The arguments and errors are those of `evaluate`.
    """
    embedded = embed_split(model, split, ranks, image_size, on_batch, batch_size)
    with _every_second(on_batch):
        return [one.squared for one in _verified(split, embedded, ranks, fars).at_far]


def _verified(
    split: ImageSplit, embedded: EmbeddedSplit, ranks: Ranks, fars: Sequence[float], given: Sequence[float] = ()
) -> Verification:
    part = Part(ranks.rank, ranks.world_size, ranks.group)
    queries, gallery = embedded["embeddings"], embedded["gallery"]
    if split.pairs is not None:
        everything = queries if gallery is None else torch.cat([queries, gallery])
        pairs, is_same = (tensor.to(ranks.device) for tensor in split.pairs)
        return verify_pairs(everything, pairs, is_same, fars, given, part)
    return verify(queries, embedded["labels"], fars, given, gallery, embedded["gallery_labels"], part)


def _verification_metrics(verified: Verification, fars: Sequence[float]) -> dict[str, float]:
    found = {}
    for far, threshold in zip(fars, verified.at_far, strict=True):
        found[f"tar_at_far_{far_text(far)}"] = verified.true_accept_rate(threshold)
    found["eer"] = verified.equal_error_rate()
    for far, threshold in zip(fars, verified.at_far, strict=True):
        found[f"threshold_at_far_{far_text(far)}"] = math.sqrt(threshold.squared)
    for far, threshold in zip(fars, verified.at_given, strict=False):  # none but on the test classes
        found[f"tar_at_val_threshold_{far_text(far)}"] = verified.true_accept_rate(threshold)
        found[f"far_at_val_threshold_{far_text(far)}"] = verified.false_accept_rate(threshold)
    return found


@contextmanager
def _every_second(call: Callable[[], None]) -> Iterator[None]:
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(1.0):
            call()

    thread = threading.Thread(target=run, name="ticks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@torch.no_grad()
def embed(
    model: Embeds,
    images: Images,
    ranks: Ranks,
    image_size: int | None = None,
    on_batch: Callable[[], None] = lambda: None,
    batch_size: int = EVALUATION_BATCH,
) -> torch.Tensor:
    """Return the embeddings (n, D) of all `images` in their order, on every rank.

    Each rank embeds a slice of them, and reads its next batch while the network computes. The other arguments and the
    errors are those of `evaluate`.
    """

    def read(rows: torch.Tensor) -> torch.Tensor:
        batch = images[rows]
        if image_size is not None and batch.dtype == torch.uint8:  # vectors are not cropped
            batch = center_crop(batch, image_size)
        if ranks.device.type != "cuda" or batch.device.type == "cuda":
            return batch
        with torch.cuda.device(ranks.device):  # a new thread's current device is GPU 0, where it would open a context
            return torch.empty_like(batch, pin_memory=True).copy_(batch)  # copies the crop without its margins

    mine = shard_slice(len(images), ranks.world_size, ranks.rank)
    # Where a split has fewer images than there are ranks, some ranks have none, and read no batch.
    batches = torch.arange(mine.start, mine.stop).split(batch_size) if mine.stop > mine.start else ()
    parts = [torch.empty(0, model.embedding_size, dtype=model.dtype, device=ranks.device)]
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


def _forward(model: Embeds, images: torch.Tensor, at_once: int) -> tuple[torch.Tensor, int]:
    """Return the embeddings (n, D) of `images`, and the number of images, at most `at_once`, that fit into memory."""
    while True:
        try:
            with full_float32(images.device.type):
                return torch.cat([model(some) for some in images.split(at_once)]), at_once
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
        # Not in the except clause: there the exception's frames still hold the tensors that were computed.
        at_once = -(-min(at_once, len(images)) // 2)
        torch.cuda.empty_cache()
