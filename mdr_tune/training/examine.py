"""Evaluate a model and keep details: scores of each query, class centres, pictures of some queries."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from mdr_tune.config.chosen_metrics import NO_OTHERS, MetricsConfig
from mdr_tune.data.augmentations.cropping import center_crop
from mdr_tune.data.dataset import Images, ImageSplit
from mdr_tune.metric import QueryScores, examine_queries, gather_without_gradient, metrics_from_sums, shard_sizes
from mdr_tune.metric.retrieval import DEFAULT_KS
from mdr_tune.records.query_details import ShownImage, ShownQuery, TestDetails
from mdr_tune.training.evaluate import (
    EVALUATION_BATCH,
    Embeds,
    embed_split,
    usable_ks,
    usable_metrics,
    whole_split_metrics,
)
from mdr_tune.training.ranks import Ranks

SHOWN_QUERIES, NEIGHBOURS = 5, 6
"""Number of best queries and of worst queries that are shown, and number of neighbours shown beside each query."""
THUMBNAIL = 96
"""Height and width, in pixels, that larger pictures are shrunk to."""


def examine(
    model: Embeds,
    split: ImageSplit,
    ranks: Ranks,
    recall_ks: Sequence[int] = DEFAULT_KS,
    image_size: int | None = None,
    on_batch: Callable[[], None] = lambda: None,
    batch_size: int = EVALUATION_BATCH,
    metrics: MetricsConfig = NO_OTHERS,
    thresholds: Sequence[float] = (),
) -> tuple[dict[str, float], TestDetails]:
    """Return the metrics of `evaluate`, bit by bit the same, and details of queries and classes.

    All arguments, from `model` to `thresholds`, and errors are those of `evaluate`. Only rank 0 gets pictures of
    queries.
    """
    ks, further = usable_ks(split, recall_ks), usable_metrics(split, metrics)
    embedded = embed_split(model, split, ranks, image_size, on_batch, batch_size)
    sums, mine = examine_queries(ks=ks, neighbours=NEIGHBOURS, further=further, **embedded)
    scores = _gather(mine, len(split), ranks)
    centre_labels, centres = class_centres(embedded["embeddings"], embedded["labels"])
    shown = []
    if ranks.rank == 0 and _shown(split).dtype == torch.uint8:  # vectors cannot be shown
        for kind, indices in zip(("best", "worst"), best_and_worst(scores, split.labels), strict=True):
            shown += [_show(kind, index, scores, split, image_size) for index in indices]
    details = TestDetails(
        labels=split.labels.numpy(),
        first_hit=scores.first_hit.numpy(),
        average_precision=scores.average_precision.numpy(),
        r_precision=scores.r_precision.numpy(),
        centre_labels=centre_labels.cpu().numpy(),
        centres=centres.float().cpu().numpy(),
        further=dict(zip(further, scores.further.numpy().T, strict=True)),
        shown=shown,
    )
    found = metrics_from_sums(ranks.all_reduce(sums), ks, further)
    return found | whole_split_metrics(split, embedded, ranks, metrics, on_batch, thresholds), details


def _gather(mine: QueryScores, count: int, ranks: Ranks) -> QueryScores:
    """Return the scores of all `count` queries, on the CPU. `mine` has the scores of this rank's queries."""
    sizes = shard_sizes(count, ranks.world_size)
    columns = [column.double() for column in mine[:3]]  # ranks and indices are exact in float64
    together = torch.cat([torch.stack(columns, dim=1), mine.further, mine.nearest.double()], dim=1)
    everything = gather_without_gradient(together, sizes, ranks.group).cpu()
    further, nearest = everything[:, 3:].split([mine.further.shape[1], mine.nearest.shape[1]], dim=1)
    return QueryScores(everything[:, 0].long(), everything[:, 1], everything[:, 2], further, nearest.long())


def class_centres(embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the C classes in `labels` (n,), ascending, and the mean (C, D) of the `embeddings` (n, D) of each."""
    classes, place, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = embeddings.new_zeros(len(classes), embeddings.shape[1]).index_add_(0, place, embeddings)
    return classes, sums / counts[:, None]


def best_and_worst(scores: QueryScores, labels: torch.Tensor, most: int = SHOWN_QUERIES) -> tuple[list[int], list[int]]:
    """Return the indices of the best queries by average precision, best first, and of the worst ones, worst first.

    Within each of the two lists, every query is of a different class, by `labels` (n,). No query is in both lists. Of
    queries with equal precision in `scores`, one with an earlier first hit is better; then the earlier in the split
    comes first. Queries without anything to retrieve are left out. A list has at most `most` queries, and at most half
    of all queries.
    """
    rank = np.where(scores.first_hit.numpy() > 0, scores.first_hit.numpy(), np.iinfo(np.int64).max)
    precision = scores.average_precision.numpy()
    known = np.flatnonzero(~np.isnan(precision))
    worst_first = known[np.lexsort((known, -rank[known], precision[known]))]
    best_first = known[np.lexsort((known, rank[known], -precision[known]))]
    most = min(most, len(known) // 2)
    best = _of_different_classes(best_first, labels, most)
    behind_the_best = best_first[best_first.tolist().index(best[-1]) + 1 :] if best else best_first
    return best, _of_different_classes(worst_first[np.isin(worst_first, behind_the_best)], labels, most)


def _of_different_classes(order: np.ndarray, labels: torch.Tensor, most: int) -> list[int]:
    chosen: dict[int, int] = {}
    for index in order.tolist():
        if len(chosen) == most:
            break
        chosen.setdefault(int(labels[index]), index)
    return list(chosen.values())


def _show(kind: str, index: int, scores: QueryScores, split: ImageSplit, image_size: int | None) -> ShownQuery:
    gallery = split if split.gallery is None else split.gallery
    (image,) = _pictures(_shown(split), split.labels, torch.tensor([index]), image_size)
    neighbours = _pictures(_shown(gallery), gallery.labels, scores.nearest[index], image_size)
    assert kind in ("best", "worst")
    return ShownQuery(kind, index, float(scores.average_precision[index]), image, neighbours)  # type: ignore[arg-type]


def _shown(split: ImageSplit) -> Images:
    return split.images if split.pictures is None else split.pictures


def _pictures(images: Images, labels: torch.Tensor, indices: torch.Tensor, image_size: int | None) -> list[ShownImage]:
    """Return thumbnails of the `images` at `indices` (m,), cropped as the network saw them, with their `labels`."""
    pixels = images[indices]  # (m, C, H, W)
    if image_size is not None:
        pixels = center_crop(pixels, image_size)
    if max(pixels.shape[-2:]) > THUMBNAIL:
        size = (THUMBNAIL, THUMBNAIL)
        pixels = torch.nn.functional.interpolate(pixels.float(), size, mode="area").round().to(torch.uint8)
    return [
        ShownImage(int(label), picture.contiguous().numpy())
        for label, picture in zip(labels[indices], pixels, strict=True)
    ]
