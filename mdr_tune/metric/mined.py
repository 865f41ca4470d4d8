"""The result of a miner: indices of the triplets or pairs that it chose in a batch, or None for all of them."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mdr_tune.metric.batch_labels import BatchLabels, Labels, class_ids, known_labels
from mdr_tune.metric.transfer import send


class Triplets(NamedTuple):
    """Triplets of a batch: indices of `anchors`, `positives` and `negatives`, (T,) each.

    If the batch is compared with references, positives and negatives are indices of references. `fallback_fraction` is
    the share of anchors for which the miner fell back to uniform draws.
    """

    anchors: Tensor  # (T,), int64
    positives: Tensor  # (T,), int64
    negatives: Tensor  # (T,), int64
    fallback_fraction: Tensor  # (), among anchors with a positive, share of uniform draws


class Pairs(NamedTuple):
    """P positive pairs, and a separate list of Q negative pairs, as indices like those in `Triplets`."""

    anchors: Tensor  # (P,), int64
    positives: Tensor  # (P,), int64
    negative_anchors: Tensor  # (Q,), int64
    negatives: Tensor  # (Q,), int64


def no_triplets(embeddings: Tensor) -> Triplets:
    """Return a `Triplets` that holds no triplet, on the device of `embeddings`."""
    nothing = torch.empty(0, dtype=torch.int64, device=embeddings.device)
    return Triplets(nothing, nothing, nothing, embeddings.new_zeros(()))


Mined = Triplets | Pairs | None
"""Triplets or pairs that a miner chose. None stands for all pairs, or all triplets, of the batch."""


class Miner(Protocol):
    """Interface of miners. A miner chooses the pairs or triplets of a batch that the loss is computed on.

    A miner takes random numbers only from the generator that it is given. Ranks whose generators are in the same state
    therefore make the same choice.
    """

    @property
    def can_fall_back(self) -> bool:
        """Whether the miner may fall back to uniform draws. If False, `Triplets.fallback_fraction` is always 0."""

    def __call__(
        self, embeddings: Tensor, labels: Labels, generator: torch.Generator, references: Tensor | None = None
    ) -> Mined:
        """Choose pairs or triplets of a batch, without recording a gradient.

        Args:
            embeddings: (N, D), the same embeddings that the loss will get.
            labels: (N,), integers, class of each embedding, on any device; or the `BatchLabels` of these classes.
            generator: generator for random draws, in the same state on all ranks; on the CPU even if embeddings are
                not.
            references: (R, D), the embeddings that the anchors are compared with. `labels` are then made by
                `BatchLabels.against`; the last N references are the batch itself. Anchors are indices of the batch,
                positives and negatives are indices of references. None: the batch is compared with itself.

        Returns:
            Indices of the chosen pairs or triplets, on the device of `embeddings`. The tensors are empty if the batch
            has no pairs or triplets. None stands for all pairs or triplets.

        Raises:
            ValueError: a shape is wrong, or the generator is on a GPU.
        """


def draw_negatives(weights: Tensor, labels: BatchLabels, generator: torch.Generator) -> Tensor:
    """Draw a negative for each of P positive pairs, by its anchor's row of `weights`; return their indices (P,).

    All anchors get the same number of draws, as many as the anchor with the most pairs needs. The draws of an anchor
    are made together, so that its row of weights is summed up once, not once for each pair.

    Args:
        weights: (N, R), weight of each reference (column) as a negative of each anchor (row). All weights are at least
            0, and the row of each anchor has a sum above 0. No negative with a weight of 0 is drawn. Without
            references, these are the batch itself, and R is N.
        labels: labels of the batch; P is above 0.
        generator: generator on the CPU.
    """
    of_anchors = weights[labels.rows]  # (A, R)
    if weights.device.type == "cpu":
        drawn = torch.multinomial(of_anchors, labels.draws, replacement=True, generator=generator)
    else:
        drawn = draw_by_cpu(of_anchors, labels.draws, generator)
    return drawn.flatten()[labels.slots]


def draw_by_cpu(weights: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Return columns of `weights`, (A, draws), drawn on a GPU as `torch.multinomial` draws with replacement on a CPU.

    The random numbers are the same as on a CPU, and so is the generator's state afterwards. The drawn columns are the
    same too, except where rounding decides. The CPU does not wait for the GPU, and so cannot raise an error if weights
    are not finite: any column may then be drawn from their row.

    Args:
        weights: (A, R), at least 0; the sum of each row is above 0.
        draws: number of draws from each row, at least 1.
        generator: generator on the CPU.
    """
    if draws == 1:  # torch has a shortcut for one draw, with other random numbers
        exponential = torch.empty(weights.shape, dtype=weights.dtype).exponential_(generator=generator)
        return (weights / send(exponential, weights.device)).argmax(dim=1, keepdim=True)
    uniform = torch.rand(len(weights), draws, dtype=torch.float64, generator=generator)
    sums = weights.cumsum(dim=1, dtype=torch.float64)
    places = torch.searchsorted(sums, send(uniform, weights.device) * sums[:, -1:])
    return places.clamp_(max=weights.shape[1] - 1)  # a NaN is placed behind the last column


def mined_triplets(mined: Mined, labels: Labels) -> tuple[Tensor, Tensor, Tensor]:
    """Return the triplets in `mined`, the result of a miner, as indices of anchors, positives and negatives, (T,) each.

    If the miner chose pairs, each positive pair is combined with each negative pair of the same anchor. None becomes
    all triplets of the batch, sorted by anchor, positive and negative. Only then are `labels` used: the class of each
    embedding, (N,), or the `BatchLabels` of these classes. The triplets and their order are those of
    pytorch-metric-learning's `convert_to_triplets`, but no tensor of N x N x N numbers is made.
    """
    if isinstance(mined, Triplets):
        return mined.anchors, mined.positives, mined.negatives
    if isinstance(mined, Pairs):
        of_positive, of_negative = (mined.anchors[:, None] == mined.negative_anchors).nonzero(as_tuple=True)
        return mined.anchors[of_positive], mined.positives[of_positive], mined.negatives[of_negative]
    labels = known_labels(labels, class_ids(labels).device)
    is_triplet = labels.values[labels.anchors][:, None] != labels.compared  # (P, N), or (P, R) with references
    if is_triplet.device.type == "cpu":
        of_pair, negatives = is_triplet.nonzero(as_tuple=True)
    else:  # slower on a CPU; spares a wait for a GPU to count them
        of_pair, negatives = torch.nonzero_static(is_triplet, size=labels.num_triplets).unbind(1)
    return labels.anchors[of_pair], labels.positives[of_pair], negatives


def check_generator(generator: torch.Generator) -> None:
    """Raise a ValueError unless `generator` is on the CPU, where draws do not depend on the embeddings' device."""
    if generator.device.type != "cpu":
        raise ValueError(
            f"the generator is on {generator.device}, but negatives are drawn on the CPU, so that they are the same on "
            "all devices: make it with torch.Generator()"
        )
