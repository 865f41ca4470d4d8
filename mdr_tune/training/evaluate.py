"""Retrieval quality of a model on a split, the work shared by the ranks."""

import torch

from mdr_tune.data.dataset import ImageSplit
from mdr_tune.metric import (
    gather_without_gradient,
    metrics_from_sums,
    score_queries,
    shard_sizes,
    shard_slice,
)
from mdr_tune.training.model import EmbeddingModel
from mdr_tune.training.ranks import Ranks

RECALL_KS = (1, 2, 4, 8)
EVALUATION_BATCH = 256


@torch.no_grad()
def embed(model: EmbeddingModel, images: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    """Embed all `images` (n, C, H, W), each rank a slice; returns (n, D) on every rank, in order."""
    was_training = model.training
    model.eval()
    mine = images[shard_slice(len(images), ranks.world_size, ranks.rank)]
    parts = [model(batch.to(ranks.device)) for batch in mine.split(EVALUATION_BATCH)]
    model.train(was_training)
    return gather_without_gradient(torch.cat(parts), shard_sizes(len(images), ranks.world_size), ranks.group)


def evaluate(model: EmbeddingModel, split: ImageSplit, ranks: Ranks) -> dict[str, float]:
    """Return `recall_at_K`, `map_at_r` and `r_precision` of each image as a query to all others, in percent.

    The value is the same on all ranks, and up to rounding the same for any number of them: nothing is padded, each
    image is embedded and scored once.
    """
    embeddings = embed(model, split.images, ranks)
    labels = split.labels.to(ranks.device)
    rows = shard_slice(len(labels), ranks.world_size, ranks.rank)
    sums = ranks.all_reduce(score_queries(embeddings, labels, RECALL_KS, rows=rows))
    return metrics_from_sums(sums, RECALL_KS)
