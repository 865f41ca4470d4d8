"""Adapter that gives pytorch-metric-learning's miners the interface of this package's miners."""

import torch
from pytorch_metric_learning import miners
from torch import Tensor

from mdr_tune.metric.batch_labels import Labels, class_ids, known_labels
from mdr_tune.metric.distance import check_embeddings, full_precision
from mdr_tune.metric.library_adapter import euclidean
from mdr_tune.metric.mined import Pairs, Triplets, no_triplets


class LibraryMiner:
    """Adapter that makes a `miner` of pytorch-metric-learning a `Miner`. The miner must not draw at random."""

    can_fall_back = False

    def __init__(self, miner: miners.BaseMiner) -> None:
        self._miner = miner

    @torch.no_grad()
    def __call__(
        self, embeddings: Tensor, labels: Labels, generator: torch.Generator, references: Tensor | None = None
    ) -> Triplets | Pairs:
        """See `Miner`; only subclasses use `generator`. For embeddings on a GPU, the library makes the CPU wait."""
        check_embeddings(embeddings, class_ids(labels))
        if len(embeddings) == 0:  # some of the library's miners raise an IndexError then
            return no_triplets(embeddings)
        with torch.autocast(embeddings.device.type, enabled=False):
            if references is None:
                indices = self._mine(full_precision(embeddings), class_ids(labels).to(embeddings.device), generator)
            else:
                known = known_labels(labels, embeddings.device)
                compared = full_precision(references), known.compared
                indices = self._miner(full_precision(embeddings), known.values, *compared)
                indices = _without_itself(indices, len(references) - len(embeddings))
        if len(indices) == 4:
            return Pairs(*indices)
        anchors, positives, negatives = indices
        return Triplets(anchors, positives, negatives, embeddings.new_zeros(()))

    def _mine(self, embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        indices: tuple[Tensor, ...] = self._miner(embeddings, labels)
        return indices


class SemiHardMiner(miners.TripletMarginMiner):
    """Choose semi-hard triplets as the library's miner does, but with less memory if there are references.

    The library would make a matrix of N x R x R numbers.
    """

    def __init__(self, margin: float) -> None:
        super().__init__(margin, "semihard", distance=euclidean(), collect_stats=False)

    def mine(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return anchors, positives and negatives, (T,) each. The library calls this method, with autocast off."""
        if ref_emb is embeddings:
            chosen: tuple[Tensor, Tensor, Tensor] = super().mine(embeddings, labels, ref_emb, ref_labels)
            return chosen
        distances = self.distance(embeddings, ref_emb)  # (N, R)
        is_positive = labels[:, None] == ref_labels
        of_pairs = is_positive.nonzero().unbind(1)  # of P pairs: anchors and positives
        differences = distances[of_pairs[0]].masked_fill_(is_positive[of_pairs[0]], torch.inf)  # (P, R)
        differences -= distances[of_pairs][:, None]
        pair, negatives = ((differences > 0) & (differences <= self.margin)).nonzero().unbind(1)
        return of_pairs[0][pair], of_pairs[1][pair], negatives


def _without_itself(indices: tuple[Tensor, ...], first: int) -> tuple[Tensor, ...]:
    """Return `indices` of pairs or triplets without those whose positive is the anchor itself.

    `first` is the index of the first embedding of the batch among the references.
    """
    kept = indices[0] + first != indices[1]
    positive_part = 3 if len(indices) == 3 else 2  # of pairs, the negative ones are a list of their own
    return tuple(part[kept] if i < positive_part else part for i, part in enumerate(indices))
