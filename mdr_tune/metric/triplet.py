"""The triplet margin loss."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdr_tune.metric.batch_labels import Labels, class_ids, known_labels
from mdr_tune.metric.distance import check_embeddings, check_tensors, full_precision
from mdr_tune.metric.metric_loss import MetricLoss
from mdr_tune.metric.mined import Mined, mined_triplets

_EPS = 1e-6  # added to each coordinate of a difference by `functional.triplet_margin_loss`

# Number of coordinates in a block of differences. On a CPU a block and its temporaries should stay in the cache;
# elsewhere a few large kernels are faster.
_BLOCK_ELEMENTS_CPU = 2**17
_BLOCK_ELEMENTS_ACCELERATOR = 2**25


class TripletLoss(MetricLoss):
    """Mean over triplets of max(0, |anchor - positive| - |anchor - negative| + margin).

    The loss equals `torch.nn.functional.triplet_margin_loss` with its default arguments (p = 2, 1e-6 added to each
    difference). The code of MDR's authors calls that function. If a miner chose pairs, or returned None,
    `mined_triplets` makes triplets of them.
    Source: Schroff et al., "FaceNet", CVPR 2015, with distances in place of squared distances.

    Args:
        margin: margin in the units of the embeddings, at least 0; the authors use 0.2.

    Raises:
        ValueError: `margin` is negative or not a number.
    """

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        if not margin >= 0:
            raise ValueError(f"margin must be 0 or more, got {margin}")
        self.margin = margin

    def forward(
        self,
        embeddings: Tensor,
        labels: Labels,
        mined: Mined,
        generator: torch.Generator,
        references: Tensor | None = None,
    ) -> Tensor:
        """Return the loss, in the units of the embeddings. See `MetricLoss.forward` for the arguments."""
        check_embeddings(embeddings, class_ids(labels))
        if mined is None:
            labels = known_labels(labels, embeddings.device)
        return triplet_margin_loss(embeddings, *mined_triplets(mined, labels), self.margin, references)

    def extra_repr(self) -> str:
        """Return the arguments, for `print(module)`."""
        return f"margin={self.margin}"


def triplet_margin_loss(
    embeddings: Tensor,
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor,
    margin: float,
    references: Tensor | None = None,
) -> Tensor:
    """Return the triplet margin loss of the given triplets, of shape (), in the units of the embeddings.

    Without triplets, the loss and its gradient are 0. Second derivatives are not supported. Half-precision embeddings
    are converted to float32 first.

    Args:
        embeddings: (N, D).
        anchors: (T,), indices of embeddings.
        positives: (T,), indices of embeddings, or of references if there are some.
        negatives: (T,), as positives.
        margin: margin in the units of the embeddings.
        references: (R, D), embeddings to compare the anchors with, which get no gradient; None: the embeddings.

    Raises:
        TypeError: an argument other than `margin` is not a tensor.
        ValueError: `embeddings` is not a floating-point (N, D), or the index tensors differ in shape.
    """
    check_embeddings(embeddings)
    check_tensors(anchors=anchors, positives=positives, negatives=negatives)
    embeddings = full_precision(embeddings)
    if not anchors.shape == positives.shape == negatives.shape:
        raise ValueError(
            "anchors, positives and negatives must have one shape, got "
            f"{tuple(anchors.shape)}, {tuple(positives.shape)}, {tuple(negatives.shape)}"
        )
    if anchors.numel() == 0:
        return embeddings.sum() * 0
    others = embeddings if references is None else full_precision(references.detach())
    if embeddings.device.type == "cpu" and len(anchors) > len(embeddings) * len(others):
        return _many_triplets(embeddings, anchors, positives, negatives, margin, others)
    constant = None if references is None else others
    loss: Tensor = _TripletMargin.apply(embeddings, anchors, positives, negatives, margin, constant)
    return loss


class _TripletMargin(torch.autograd.Function):
    """Compute the value and the closed-form gradient of `functional.triplet_margin_loss` on rows of one matrix.

    Autograd would keep three copies of selected rows, (T, D) each, and make a gradient of that size for each of them.
    Here the differences are formed block by block, and only their lengths are kept. The gradient is that of springs
    between pairs: each pair has a coefficient, and one matrix product turns the (N, N) coefficients into the gradient
    (N, D). If the distance of a pair is a fraction f of the length of its embeddings, the gradient has a relative
    rounding error of the float type's epsilon / f.
    """

    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        anchors: Tensor,
        positives: Tensor,
        negatives: Tensor,
        margin: float,
        references: Tensor | None = None,
    ) -> Tensor:
        others = embeddings if references is None else references
        to_positive, to_negative = _distances(embeddings, others, anchors, positives, negatives)
        violations = to_positive - to_negative + margin
        if ctx.needs_input_grad[0]:
            counted = (violations >= 0).to(embeddings.dtype).div_(len(anchors))
            coefficients = embeddings.new_zeros(len(embeddings) * len(others))
            _add_in_order(coefficients, anchors * len(others) + positives, _quotients(counted, to_positive))
            _add_in_order(coefficients, anchors * len(others) + negatives, _quotients(-counted, to_negative))
            coefficients = coefficients.view(len(embeddings), -1)
            ctx.save_for_backward(
                embeddings, references, coefficients.fill_diagonal_(0.0) if references is None else coefficients
            )
        loss: Tensor = violations.clamp_min_(0).mean()
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        embeddings, references, coefficients = ctx.saved_tensors
        if references is not None:
            gradient = _pulled_by_references(embeddings, references, coefficients)
            return gradient.mul_(loss_gradient), None, None, None, None, None
        # Each c_ij pulls i by c_ij (e_i - e_j + eps), and j the other way. A pull of i at itself has no effect.
        outgoing, incoming = coefficients.sum(dim=1), coefficients.sum(dim=0)
        laplacian = coefficients + coefficients.t()
        laplacian.neg_().diagonal().add_(outgoing + incoming)
        # With `out`, an autocast around the backward does not change the product, in which large numbers cancel.
        gradient = torch.mm(laplacian, embeddings, out=torch.empty_like(embeddings))
        gradient.add_((outgoing - incoming).mul_(_EPS)[:, None])
        return gradient.mul_(loss_gradient), None, None, None, None, None


def _pulled_by_references(embeddings: Tensor, references: Tensor, coefficients: Tensor) -> Tensor:
    """Return the gradient (N, D): row i is the sum over j of c_ij (e_i - r_j + eps), where c are `coefficients`."""
    outgoing = coefficients.sum(dim=1, keepdim=True)
    gradient = torch.mm(coefficients, references, out=torch.empty_like(embeddings)).neg_()
    return gradient.addcmul_(outgoing, embeddings).add_(outgoing, alpha=_EPS)


def _distances(
    embeddings: Tensor, others: Tensor, anchors: Tensor, positives: Tensor, negatives: Tensor
) -> tuple[Tensor, Tensor]:
    """Return |anchor - positive + eps| and |anchor - negative + eps| of each triplet, (T,) each. eps is `_EPS`."""
    if len(anchors) > len(embeddings) * len(others):
        of_pairs = _pair_distances(embeddings, others)
        return of_pairs[anchors, positives], of_pairs[anchors, negatives]
    elements = _BLOCK_ELEMENTS_CPU if embeddings.device.type == "cpu" else _BLOCK_ELEMENTS_ACCELERATOR
    block = max(1, elements // embeddings.shape[1])
    distances = embeddings.new_empty(2, len(anchors))
    for start in range(0, len(anchors), block):
        part = slice(start, start + block)
        chosen = embeddings.index_select(0, anchors[part])
        for indices, found in zip((positives, negatives), distances, strict=True):
            differences = others.index_select(0, indices[part])
            # The epsilon is added last: added to an embedding with large numbers, it would be lost.
            torch.sub(chosen, differences, out=differences).add_(_EPS)
            torch.linalg.vector_norm(differences, dim=1, out=found[part])
    return distances[0], distances[1]


def _quotients(counted: Tensor, distances: Tensor) -> Tensor:
    """Return counted / distances, (T,); 0 where the distance is 0."""
    return (counted / distances).masked_fill_(distances == 0, 0.0)


def _add_in_order(target: Tensor, indices: Tensor, values: Tensor) -> None:
    """Add `values` (T,) to the entries `indices` (T,) of `target`, in a fixed order, which decides the last bits."""
    if target.device.type == "cpu":
        target.index_add_(0, indices, values)
    else:  # on a GPU `index_add_` adds in any order, which changes the last bits
        target.index_put_((indices,), values, accumulate=True)


def _many_triplets(
    embeddings: Tensor, anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float, others: Tensor
) -> Tensor:
    """Return the loss of more than N x R triplets on a CPU, by looking up distances in the matrix of all ordered pairs.

    This takes memory for N x R numbers instead of 3 x T x D. On a GPU this is not done, since the backward of `cdist`
    would need memory for N x R x D numbers.
    """
    distances = _pair_distances(embeddings, others)
    return (distances[anchors, positives] - distances[anchors, negatives] + margin).clamp_min(0).mean()


def _pair_distances(embeddings: Tensor, others: Tensor) -> Tensor:
    """Return |e_i - o_j + eps| of `embeddings` e (N, D) and `others` o (R, D), (N, R), differentiably. eps is `_EPS`.

    They are computed from differences, not from matrix products, so that near duplicates agree with `_distances`.
    """
    return torch.cdist(embeddings + _EPS, others, compute_mode="donot_use_mm_for_euclid_dist")
