"""Adapter that gives pytorch-metric-learning's miners the interface of this package's miners."""

import torch
from pytorch_metric_learning import miners
from torch import Tensor

from mdr_tune.metric.batch_labels import Labels, class_ids
from mdr_tune.metric.distance import check_embeddings, full_precision
from mdr_tune.metric.mined import Pairs, Triplets, no_triplets


class LibraryMiner:
    """Adapter of a `miner` of pytorch-metric-learning. The miner must not draw at random."""

    can_fall_back = False

    def __init__(self, miner: miners.BaseMiner) -> None:
        self._miner = miner

    @torch.no_grad()
    def __call__(self, embeddings: Tensor, labels: Labels, generator: torch.Generator) -> Triplets | Pairs:
        """See `Miner`; `generator` is not used. If embeddings are on a GPU, the library makes the CPU wait for it."""
        check_embeddings(embeddings, class_ids(labels))
        if len(embeddings) == 0:  # some of the library's miners raise an IndexError then
            return no_triplets(embeddings)
        with torch.autocast(embeddings.device.type, enabled=False):
            indices = self._mine(full_precision(embeddings), class_ids(labels).to(embeddings.device), generator)
        if len(indices) == 4:
            return Pairs(*indices)
        anchors, positives, negatives = indices
        return Triplets(anchors, positives, negatives, embeddings.new_zeros(()))

    def _mine(self, embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        indices: tuple[Tensor, ...] = self._miner(embeddings, labels)
        return indices
