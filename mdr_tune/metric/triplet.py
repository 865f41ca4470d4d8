"""The triplet margin loss."""

import torch
from torch import Tensor
from torch.nn import functional

from mdr_tune.metric.distance import check_embeddings
from mdr_tune.metric.losses import MetricLoss
from mdr_tune.metric.mined import Mined, mined_triplets

_EPS = 1e-6  # added to each coordinate of a difference by `functional.triplet_margin_loss`


class TripletLoss(MetricLoss):
    """Mean over triplets of max(0, |anchor - positive| - |anchor - negative| + margin).

    Source: Schroff et al., "FaceNet", CVPR 2015, with distances instead of squared ones; equal to
    `torch.nn.functional.triplet_margin_loss` with its defaults (p = 2, 1e-6 added to each difference), which
    is what the authors' code of MDR calls. Pairs and None are turned into triplets by `mined_triplets`.

    Args:
        margin: in the units of the embeddings, at least 0; 0.2 is the authors'.

    Raises:
        ValueError: `margin` is negative or not a number.
    """

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        if not margin >= 0:
            raise ValueError(f"margin must be 0 or more, got {margin}")
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor, mined: Mined, generator: torch.Generator) -> Tensor:
        """Return the loss, in the units of the embeddings. See `MetricLoss.forward`."""
        check_embeddings(embeddings, labels)
        return triplet_margin_loss(embeddings, *mined_triplets(mined, labels), self.margin)

    def extra_repr(self) -> str:
        """Return the arguments, for `print(module)`."""
        return f"margin={self.margin}"


def build_triplet(embedding_size: int, num_classes: int, margin: float = 0.2) -> TripletLoss:
    """Return the loss for `mdr_tune.catalog.LOSSES`; it needs neither size nor classes."""
    return TripletLoss(margin)


def triplet_margin_loss(
    embeddings: Tensor, anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float
) -> Tensor:
    """Return the triplet margin loss; without triplets a zero that still has a (zero) gradient.

    Args:
        embeddings: (N, D).
        anchors: (T,), indices of embeddings.
        positives: (T,), indices of embeddings.
        negatives: (T,), indices of embeddings.
        margin: in the units of the embeddings.

    Returns:
        The loss, of shape (), in the units of the embeddings.

    Raises:
        ValueError: `embeddings` is not (N, D), or the index tensors differ in shape.
    """
    check_embeddings(embeddings)
    if not anchors.shape == positives.shape == negatives.shape:
        raise ValueError(
            "anchors, positives and negatives must have one shape, got "
            f"{tuple(anchors.shape)}, {tuple(positives.shape)}, {tuple(negatives.shape)}"
        )
    if anchors.numel() == 0:
        return embeddings.sum() * 0
    if len(anchors) > len(embeddings) ** 2:
        return _many_triplets(embeddings, anchors, positives, negatives, margin)
    return functional.triplet_margin_loss(
        embeddings[anchors], embeddings[positives], embeddings[negatives], margin=margin
    )


def _many_triplets(embeddings: Tensor, anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float) -> Tensor:
    """Look the distances up among those of all ordered pairs: N x N numbers instead of 3 x T x D."""
    # Differences, not products: so that near duplicates are as far apart as in the other branch.
    distances = torch.cdist(embeddings + _EPS, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
    return (distances[anchors, positives] - distances[anchors, negatives] + margin).clamp_min(0).mean()
