"""Adapter that gives pytorch-metric-learning's losses the interface of this package's losses."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from pytorch_metric_learning import distances, losses, reducers
from torch import Tensor

from mdr_tune.metric.batch_labels import BatchLabels, Labels, class_ids, known_labels
from mdr_tune.metric.distance import check_embeddings, full_precision
from mdr_tune.metric.library_random import library_draws_from
from mdr_tune.metric.metric_loss import MetricLoss
from mdr_tune.metric.mined import Mined, Pairs, Triplets, mined_triplets

# Losses that raise an error when they are given indices of pairs or triplets.
_MAKE_THEIR_OWN_PAIRS = (losses.InstanceLoss, losses.P2SGradLoss, losses.PNPLoss, losses.RankedListLoss)

# Losses that look a cosine up in a histogram that ends at 1, or take its arccosine without clamping it first.
_BREAK_BEYOND_ONE = (losses.HistogramLoss, losses.TupletMarginLoss)


class LibraryLoss(MetricLoss):
    """Adapter of a loss of pytorch-metric-learning. It returns a scalar with a gradient.

    Random draws of the loss depend only on the generator that `forward` gets.

    Args:
        loss: the library's loss. It is kept, not copied, and its parameters become parameters of this module.
        num_classes: number of classes; labels must be 0 to num_classes - 1. None if the loss has no parameters for
            single classes.
    """

    def __init__(self, loss: losses.BaseMetricLossFunction, num_classes: int | None = None) -> None:
        super().__init__()
        self.takes_mined = not isinstance(loss, _MAKE_THEIR_OWN_PAIRS)
        if isinstance(loss, _BREAK_BEYOND_ONE):
            loss.distance = _BoundedCosine(collect_stats=False)
        if isinstance(loss, losses.ArcFaceLoss):
            loss.get_angles = _angles
        if isinstance(loss, losses.NCALoss):
            loss.reducer = _MeanOrZero(collect_stats=False)
        self.loss = loss
        self.num_classes = num_classes

    def forward(
        self,
        embeddings: Tensor,
        labels: Labels,
        mined: Mined,
        generator: torch.Generator,
        references: Tensor | None = None,
    ) -> Tensor:
        """Return the loss. See `MetricLoss.forward` for the arguments.

        One seed is drawn from `generator` at each call. Half-precision embeddings are converted to float32 first, and
        autocast is switched off.

        Raises:
            ValueError: a shape or a label is wrong, or `mined` is given to a loss that makes its own pairs.
        """
        check_embeddings(embeddings, class_ids(labels))
        embeddings = full_precision(embeddings)
        self._check_labels(labels.on_cpu if isinstance(labels, BatchLabels) else labels)
        if mined is not None and not self.takes_mined:
            raise ValueError(f"{type(self.loss).__name__} makes its own pairs of the whole batch: use the miner 'all'")
        compared: tuple[Tensor, ...] = ()
        if references is not None:
            labels = known_labels(labels, embeddings.device)
            compared = (full_precision(references.detach()), labels.compared)
            mined = self._all_pairs(labels) if mined is None else mined
        labels = class_ids(labels).to(embeddings.device)
        indices = tuple(mined[:3]) if isinstance(mined, Triplets) else mined
        autocast_off = torch.autocast(embeddings.device.type, enabled=False)
        with library_draws_from(generator, embeddings.device), autocast_off:
            value = self._value(embeddings, labels, indices, *compared)
        # A loss without any pair has no gradient, and some losses have the shape (1,).
        return value.reshape(()) if value.requires_grad else value.reshape(()) + embeddings.sum() * 0

    def _all_pairs(self, labels: BatchLabels) -> Mined:
        """Return all pairs of anchors and references, by their `labels`; all triplets if the loss is one on triplets.

        The library itself would add pairs of an embedding with itself, since the batch is among the references.
        """
        if hasattr(self.loss, "triplets_per_anchor"):
            return Triplets(*mined_triplets(None, labels), torch.zeros(()))
        return Pairs(labels.anchors, labels.positives, *(labels.values[:, None] != labels.compared).nonzero().unbind(1))

    def _value(
        self, embeddings: Tensor, labels: Tensor, indices: tuple[Tensor, ...] | None, *compared: Tensor
    ) -> Tensor:
        value: Tensor = self.loss(embeddings, labels, indices, *compared)
        return value

    def _check_labels(self, labels: Tensor) -> None:
        """Raise a ValueError if the loss has no parameters for one of `labels`; on a GPU, such a label breaks CUDA."""
        if self.num_classes is None or labels.numel() == 0:
            return
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0 or highest >= self.num_classes:
            raise ValueError(
                f"labels must be 0 to {self.num_classes - 1}, one for each class of the loss, got {lowest} to {highest}"
            )


def euclidean() -> distances.LpDistance:
    """Return pytorch-metric-learning's Euclidean distance, without its default normalisation of the embeddings."""
    return distances.LpDistance(normalize_embeddings=False, collect_stats=False)


class _BoundedCosine(distances.CosineSimilarity):
    """Cosine similarity that is kept slightly below 1 and above -1, so that its arccosine has a finite gradient.

    Rounding takes the cosine of two embeddings of the same direction to 1 or beyond. The arccosine of a number beyond 1
    is NaN, and its gradient at 1 is infinite. HistogramLoss has no bin for 1 or more. It converts cosines to float32,
    so that the bound is a few roundings of float32 below 1.
    """

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        cosines: Tensor = super().compute_mat(query_emb, ref_emb)
        bound = 1 - 4 * torch.finfo(torch.float32).eps
        return cosines.clamp(-bound, bound)


def _angles(cosines: Tensor) -> Tensor:
    """Return the arccosines. Where a cosine is 1, -1 or beyond, the gradient is 0.

    This replaces the library's method, which clamps by `torch.clamp`. In older versions of torch, the gradient of the
    clamp at 1 is not 0, while the gradient of the arccosine is infinite there.
    """
    return torch.acos(F.hardtanh(cosines))


class _MeanOrZero(reducers.MeanReducer):
    """The mean of the losses, or 0 if there are none.

    NCALoss leaves out embeddings whose probability of a positive is 0, so that there may be none.
    """

    def element_reduction(
        self, element_losses: Tensor, loss_indices: Tensor, embeddings: Tensor, labels: Tensor
    ) -> Tensor:
        mean: Tensor = element_losses.mean() if len(element_losses) else self.zero_loss(embeddings)
        return mean
