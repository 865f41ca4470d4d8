"""Distance-weighted mining: draw triplets whose negatives are spread evenly over the distances."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from mdr_tune.metric.batch_labels import BatchLabels, Labels, class_ids, known_labels, own_columns
from mdr_tune.metric.distance import check_embeddings, full_precision
from mdr_tune.metric.distance_tiles import distance_tiles, distances_to_references
from mdr_tune.metric.mined import Triplets, check_generator, draw_negatives, no_triplets

MinerWeights = Literal["official", "stable"]


class DistanceWeightedMiner:
    """Use every ordered positive pair once, with a negative that is drawn by the inverse density of its distance.

    `weights`, `cutoff` and `nonzero_loss_cutoff`, and errors, are those of `negative_weights`.
    Source: Wu et al., "Sampling Matters in Deep Embedding Learning", ICCV 2017, as in the code of MDR's authors.
    """

    can_fall_back = True

    def __init__(
        self, weights: MinerWeights = "official", cutoff: float = 0.5, nonzero_loss_cutoff: float = 1.4
    ) -> None:
        _check_arguments(weights, cutoff, nonzero_loss_cutoff)
        self.weights: MinerWeights = weights
        self.cutoff = cutoff
        self.nonzero_loss_cutoff = nonzero_loss_cutoff

    @torch.no_grad()
    def __call__(
        self, embeddings: Tensor, labels: Labels, generator: torch.Generator, references: Tensor | None = None
    ) -> Triplets:
        """Draw the triplets of a batch.

        Args:
            embeddings: (N, D), of any length; they are put on the unit sphere first.
            labels: (N,), class of each embedding, on any device; or the `BatchLabels` of these classes.
            generator: generator on the CPU, also for embeddings on a GPU. Equal seeds on all ranks give equal triplets.
            references: see `Miner`.

        Returns:
            The triplets, ordered by anchor and then positive, on the device of `embeddings`. They are empty when no
            class has two members or there is only one class. If embeddings on a GPU are not finite, any embedding may
            be drawn as a negative.

        Raises:
            ValueError: a shape is wrong, the generator is on a GPU, or embeddings on the CPU are not finite.
        """
        check_embeddings(embeddings, class_ids(labels))
        check_generator(generator)
        if embeddings.device.type == "cpu" and embeddings.numel() and not _all_finite(embeddings):
            raise ValueError("embeddings are not finite: the training has diverged, lower the learning rate")
        known = known_labels(labels, embeddings.device)
        if known.num_triplets == 0:
            return no_triplets(embeddings)
        weights, fell_back = self._weights(embeddings, known, references)
        negatives = draw_negatives(weights, known, generator)
        fallback_fraction = fell_back[known.rows].sum().to(embeddings.dtype) / len(known.rows)
        return Triplets(known.anchors, known.positives, negatives, fallback_fraction)

    def _weights(self, embeddings: Tensor, labels: BatchLabels, references: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the probabilities (N, R) and the fallbacks (N,) of `negative_weights`; R is N without references."""
        if references is None:
            distances = _distances_on_sphere(full_precision(embeddings))
        else:
            distances = _distances_to(full_precision(embeddings), full_precision(references))
        is_negative = labels.values[:, None] != labels.compared
        dimensions = embeddings.shape[1]
        return _weights_of(distances, is_negative, dimensions, self.weights, self.cutoff, self.nonzero_loss_cutoff)


@torch.no_grad()
def negative_weights(
    embeddings: Tensor,
    labels: Tensor,
    weights: MinerWeights = "official",
    cutoff: float = 0.5,
    nonzero_loss_cutoff: float = 1.4,
) -> tuple[Tensor, Tensor]:
    """Return, for each anchor, the probability of each embedding to be drawn as its negative.

    The weight of a distance d on the unit sphere is 1 / q(d), where q(d) ~ d^(D-2) * (1 - d^2 / 4)^((D-3)/2). Its
    logarithm is computed first. A maximum of the row is subtracted before the exponential (see `weights`). The weight
    is 0 for embeddings of the anchor's own class, and for distances of `nonzero_loss_cutoff` or more. If all weights of
    a row are 0, the row falls back: all negatives of the anchor get equal weights.

    For opposite embeddings, d is 2 or, by rounding, a little more, and 1 - d^2 / 4 is not positive. It is then set to
    the smallest positive number. The authors' code returns NaN in this case.

    Args:
        embeddings: (N, D), of any length; they are put on the unit sphere first.
        labels: (N,), class of each embedding.
        weights: the maximum that is subtracted. `official` is the maximum of the whole row, including the anchor's own
            class and the anchor itself (at a distance of 1), as in the authors' code. For a large D, most rows then
            underflow in float32. `stable` is the maximum over the negatives nearer than `nonzero_loss_cutoff`.
        cutoff: smallest distance, above 0; smaller distances are replaced by it.
        nonzero_loss_cutoff: negatives at this distance or farther are not drawn.

    Returns:
        The probabilities, (N, N), and for each row whether it fell back, (N,) bool. A row of probabilities sums to 1,
        or to 0 if its anchor has no negatives.

    Raises:
        ValueError: a shape is wrong, `weights` is unknown, or 0 < `cutoff` < `nonzero_loss_cutoff` does not hold.
    """
    check_embeddings(embeddings, labels)
    _check_arguments(weights, cutoff, nonzero_loss_cutoff)
    distances, negatives = _distances_on_sphere(full_precision(embeddings)), labels[:, None] != labels[None, :]
    return _weights_of(distances, negatives, embeddings.shape[1], weights, cutoff, nonzero_loss_cutoff)


def _weights_of(
    distances: Tensor,
    negatives: Tensor,
    dimensions: int,
    weights: MinerWeights,
    cutoff: float,
    nonzero_loss_cutoff: float,
) -> tuple[Tensor, Tensor]:
    """Return the result of `negative_weights` from given `distances` (N, R), which are overwritten.

    `negatives` (N, R) bool says which pairs are of two classes. `dimensions` is the length of an embedding.
    """
    distances.clamp_(min=cutoff)
    invalid = (distances < nonzero_loss_cutoff).logical_and_(negatives).logical_not_()
    log_weights = _log_inverse_density(distances, dimensions)
    if weights == "stable":
        log_weights.masked_fill_(invalid, -torch.inf)
    maxima = log_weights.amax(dim=1, keepdim=True)
    maxima.masked_fill_(maxima == -torch.inf, 0.0)  # with `stable`, a row without a valid negative
    row_weights = log_weights.sub_(maxima).exp_().masked_fill_(invalid, 0.0)
    fell_back = row_weights.sum(dim=1) == 0
    row_weights.masked_fill_(fell_back[:, None] & negatives, 1.0)
    sums = row_weights.sum(dim=1, keepdim=True)
    return row_weights.div_(sums.masked_fill(sums == 0, 1.0)), fell_back & negatives.any(dim=1)


def _all_finite(embeddings: Tensor) -> bool:
    return bool(torch.stack(embeddings.aminmax()).isfinite().all())  # a NaN makes both extremes NaN


def _distances_on_sphere(embeddings: Tensor) -> Tensor:
    """Return the distances (N, N) of the normalised `embeddings`, with a diagonal of 1 as in the authors' code."""
    on_sphere = functional.normalize(embeddings, dim=1, p=2)
    (whole,) = distance_tiles(on_sphere, tile_rows=max(1, len(on_sphere)))
    return whole.distances.fill_diagonal_(1.0)


def _distances_to(embeddings: Tensor, references: Tensor) -> Tensor:
    """Return the distances (N, R) of the normalised `embeddings` to the normalised `references`.

    As in `_distances_on_sphere`, the distance of each embedding to itself, among the last references, is 1.
    """
    distances = distances_to_references(*(functional.normalize(each, dim=1, p=2) for each in (embeddings, references)))
    own_columns(distances).fill_diagonal_(1.0)
    return distances


def _log_inverse_density(distances: Tensor, dimensions: int) -> Tensor:
    remainder = distances.square().mul_(-0.25).add_(1.0).clamp_(min=torch.finfo(distances.dtype).tiny)
    log_remainder = remainder.log_().mul_((dimensions - 3.0) / 2.0)
    return distances.log().mul_(2.0 - dimensions).sub_(log_remainder)


def _check_arguments(weights: str, cutoff: float, nonzero_loss_cutoff: float) -> None:
    if weights not in get_args(MinerWeights):
        raise ValueError(f"unknown miner weights {weights!r}. Known: {', '.join(get_args(MinerWeights))}.")
    if not 0 < cutoff < nonzero_loss_cutoff:
        raise ValueError(
            "need 0 < cutoff < nonzero_loss_cutoff (distances on the unit sphere, 0 to 2), "
            f"got {cutoff} and {nonzero_loss_cutoff}"
        )
