"""pytorch-metric-learning's miners, behind the interface of ours."""

import torch
from pytorch_metric_learning import distances, miners
from torch import Tensor

from mdr_tune.metric.batch_labels import Labels, class_ids
from mdr_tune.metric.distance import check_embeddings, full_precision
from mdr_tune.metric.mined import Pairs, Triplets, no_triplets


class LibraryMiner:
    """Adapter of one of the library's miners that draw nothing at random."""

    can_fall_back = False

    def __init__(self, miner: miners.BaseMiner) -> None:
        self._miner = miner

    @torch.no_grad()
    def __call__(self, embeddings: Tensor, labels: Labels, generator: torch.Generator) -> Triplets | Pairs:
        """Choose from a batch; `generator` is not used. See `Miner`. The library's code waits for a GPU."""
        check_embeddings(embeddings, class_ids(labels))
        if len(embeddings) == 0:  # on which some of the library's end with an IndexError
            return no_triplets(embeddings)
        with torch.autocast(embeddings.device.type, enabled=False):
            indices = self._miner(full_precision(embeddings), class_ids(labels).to(embeddings.device))
        if len(indices) == 4:
            return Pairs(*indices)
        anchors, positives, negatives = indices
        return Triplets(anchors, positives, negatives, embeddings.new_zeros(()))


def _as_given() -> distances.LpDistance:
    """Return Euclidean distances of embeddings as they are: the library would put them on the unit sphere."""
    return distances.LpDistance(normalize_embeddings=False, collect_stats=False)


def hard_miner() -> LibraryMiner:
    """Return the miner of one triplet an anchor: its furthest positive and its nearest negative.

    Source: Hermans et al., "In Defense of the Triplet Loss", 2017.
    """
    return LibraryMiner(miners.BatchHardMiner(distance=_as_given(), collect_stats=False))


def semi_hard_miner(margin: float = 0.2) -> LibraryMiner:
    """Return the miner of all triplets whose negative is further than the positive, by `margin` at most.

    Source: Schroff et al., "FaceNet", CVPR 2015.

    Args:
        margin: in the units of the embeddings, above 0.

    Raises:
        ValueError: `margin` is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"margin must be above 0, or no triplet is semi-hard, got {margin}")
    miner = miners.TripletMarginMiner(margin, "semihard", distance=_as_given(), collect_stats=False)
    return LibraryMiner(miner)


def multi_similarity_miner(epsilon: float = 0.1) -> LibraryMiner:
    """Return the miner of pairs that are harder than the anchor's hardest pair of the other kind.

    A negative is kept if its cosine is above that of the least similar positive less `epsilon`, a positive if
    its cosine is below that of the most similar negative plus `epsilon`.
    Source: Wang et al., "Multi-Similarity Loss", CVPR 2019.

    Args:
        epsilon: of a cosine.
    """
    return LibraryMiner(miners.MultiSimilarityMiner(epsilon, collect_stats=False))
