"""The triplet margin loss."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

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

    It can be differentiated once.

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
    loss: Tensor = _TripletMargin.apply(embeddings, anchors, positives, negatives, margin)
    return loss


class _TripletMargin(torch.autograd.Function):
    """`functional.triplet_margin_loss` of rows of one matrix: value and closed-form gradient at once.

    Autograd would keep three (T, D) selections and three (T, D) gradients of them. Only the (N, D) gradient
    waits for the backward here.
    """

    @staticmethod
    def forward(
        ctx: Any, embeddings: Tensor, anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float
    ) -> Tensor:
        chosen = embeddings.index_select(0, anchors)
        from_positive = torch.sub(chosen, embeddings.index_select(0, positives)).add_(_EPS)
        from_negative = chosen.sub_(embeddings.index_select(0, negatives)).add_(_EPS)
        to_positive = torch.linalg.vector_norm(from_positive, dim=1)
        to_negative = torch.linalg.vector_norm(from_negative, dim=1)
        violations = to_positive - to_negative + margin
        gradient = None
        if ctx.needs_input_grad[0]:
            counted = (violations >= 0).to(embeddings.dtype).div_(len(anchors))
            _scale_rows(from_positive, counted, to_positive)
            _scale_rows(from_negative, counted, to_negative)
            gradient = torch.zeros_like(embeddings)
            _add_rows(gradient, positives, from_positive, -1)
            _add_rows(gradient, negatives, from_negative, 1)
            _add_rows(gradient, anchors, from_positive.sub_(from_negative), 1)
        ctx.save_for_backward(gradient)
        loss: Tensor = violations.clamp_min_(0).mean()
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_gradient: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return None if gradient is None else gradient * loss_gradient, None, None, None, None


def _scale_rows(differences: Tensor, counted: Tensor, distances: Tensor) -> None:
    """Make differences (T, D) the gradients of their lengths, times `counted` (T,); of a length of 0 it is 0."""
    differences.mul_((counted / distances).masked_fill_(distances == 0, 0.0)[:, None])


def _add_rows(gradient: Tensor, rows: Tensor, values: Tensor, sign: int) -> None:
    """Add values (T, D) to those rows (T,) of `gradient`, in an order that is the same each time."""
    if gradient.device.type == "cpu":
        gradient.index_add_(0, rows, values, alpha=sign)
    else:  # where `index_add_` adds in any order, which changes the last bits
        gradient.index_put_((rows,), values * sign, accumulate=True)


def _many_triplets(embeddings: Tensor, anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float) -> Tensor:
    """Look the distances up among those of all ordered pairs: N x N numbers instead of 3 x T x D."""
    # Differences, not products: so that near duplicates are as far apart as in the other branch.
    distances = torch.cdist(embeddings + _EPS, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
    return (distances[anchors, positives] - distances[anchors, negatives] + margin).clamp_min(0).mean()
