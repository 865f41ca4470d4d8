"""The choice of a miner in a batch: indices of triplets or of pairs, or None for all of them."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mdr_tune.metric.batch_labels import BatchLabels, Labels, class_ids, known_labels
from mdr_tune.metric.transfer import send


class Triplets(NamedTuple):
    """Triplets as indices into a batch, and the share of anchors for which the miner fell back to uniform draws."""

    anchors: Tensor  # (T,), int64
    positives: Tensor  # (T,), int64
    negatives: Tensor  # (T,), int64
    fallback_fraction: Tensor  # (), share of the anchors with a positive whose negatives were drawn uniformly


class Pairs(NamedTuple):
    """Pairs as indices into a batch: P positive pairs and, independent of them, Q negative pairs."""

    anchors: Tensor  # (P,), int64
    positives: Tensor  # (P,), int64
    negative_anchors: Tensor  # (Q,), int64
    negatives: Tensor  # (Q,), int64


def no_triplets(embeddings: Tensor) -> Triplets:
    """Return empty triplets, on the device of `embeddings`."""
    nothing = torch.empty(0, dtype=torch.int64, device=embeddings.device)
    return Triplets(nothing, nothing, nothing, embeddings.new_zeros(()))


Mined = Triplets | Pairs | None
"""Choice of a miner. None stands for all pairs, or all triplets, of the batch."""


class Miner(Protocol):
    """Choose the pairs or triplets of a batch that a loss sees.

    A miner draws from nothing but the generator, so that ranks whose generators are in the same state choose alike.
    """

    @property
    def can_fall_back(self) -> bool:
        """Whether the miner has a fallback. For a miner without one, `Triplets.fallback_fraction` is always 0."""

    def __call__(self, embeddings: Tensor, labels: Labels, generator: torch.Generator) -> Mined:
        """Choose from a batch, without recording a gradient.

        Args:
            embeddings: (N, D), as the loss will see them.
            labels: (N,), integers, the classes, on any device; or their `BatchLabels`.
            generator: generator on the CPU, also for embeddings on a GPU, in the same state on all ranks.

        Returns:
            Indices on the device of `embeddings`, empty where the batch has no pairs or triplets; or None for all.

        Raises:
            ValueError: wrong shapes, or a generator on a GPU.
        """


def draw_negatives(weights: Tensor, labels: BatchLabels, generator: torch.Generator) -> Tensor:
    """Draw a negative for each positive pair, with the weights in the row of its anchor.

    For each anchor as many negatives are drawn as the anchor with the most pairs needs. So a row is summed up once, and
    not once for each pair.

    Args:
        weights: (N, N), not negative; the sum of each anchor's row is above 0.
        labels: labels of the batch, with P positive pairs; P is above 0.
        generator: generator on the CPU.

    Returns:
        (P,), indices of the negatives, all with a weight above 0.
    """
    of_anchors = weights[labels.rows]  # (R, N)
    if weights.device.type == "cpu":
        drawn = torch.multinomial(of_anchors, labels.draws, replacement=True, generator=generator)
    else:
        drawn = draw_by_cpu(of_anchors, labels.draws, generator)
    return drawn.flatten()[labels.slots]


def draw_by_cpu(weights: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Draw columns from weights on a GPU as `torch.multinomial` on a CPU does with replacement.

    The random numbers are the same, and so is the generator's state afterwards. The columns are the same but where
    rounding decides. The CPU does not wait for the GPU, so that no error is raised: any column may be drawn from a row
    with numbers that are not finite.

    Args:
        weights: (R, N), not negative; the sum of each row is above 0.
        draws: number of draws from each row, at least 1.
        generator: generator on the CPU.

    Returns:
        (R, draws), indices of columns.
    """
    if draws == 1:  # torch has a shortcut for one draw, with other random numbers
        exponential = torch.empty(weights.shape, dtype=weights.dtype).exponential_(generator=generator)
        return (weights / send(exponential, weights.device)).argmax(dim=1, keepdim=True)
    uniform = torch.rand(len(weights), draws, dtype=torch.float64, generator=generator)
    sums = weights.cumsum(dim=1, dtype=torch.float64)
    places = torch.searchsorted(sums, send(uniform, weights.device) * sums[:, -1:])
    return places.clamp_(max=weights.shape[1] - 1)  # a NaN is placed behind the last column


def mined_triplets(mined: Mined, labels: Labels) -> tuple[Tensor, Tensor, Tensor]:
    """Return a miner's choice as anchors, positives and negatives, (T,) each.

    Pairs become triplets: each positive pair with each negative pair of the same anchor. None becomes all triplets of
    the batch, sorted by anchor, positive and negative. The triplets and their order are those of
    pytorch-metric-learning's `convert_to_triplets`, without its N x N x N intermediate.

    Args:
        mined: choice of a miner for the batch.
        labels: (N,), the classes, or their `BatchLabels`; used if `mined` is None only.
    """
    if isinstance(mined, Triplets):
        return mined.anchors, mined.positives, mined.negatives
    if isinstance(mined, Pairs):
        of_positive, of_negative = (mined.anchors[:, None] == mined.negative_anchors).nonzero(as_tuple=True)
        return mined.anchors[of_positive], mined.positives[of_positive], mined.negatives[of_negative]
    labels = known_labels(labels, class_ids(labels).device)
    is_triplet = labels.values[labels.anchors][:, None] != labels.values  # (P, N)
    if is_triplet.device.type == "cpu":
        of_pair, negatives = is_triplet.nonzero(as_tuple=True)
    else:  # slower on a CPU; spares a wait for a GPU to count them
        of_pair, negatives = torch.nonzero_static(is_triplet, size=labels.num_triplets).unbind(1)
    return labels.anchors[of_pair], labels.positives[of_pair], negatives


def check_generator(generator: torch.Generator) -> None:
    """Raise a ValueError unless `generator` is on the CPU, where its draws do not depend on the embeddings' device."""
    if generator.device.type != "cpu":
        raise ValueError(
            f"the generator is on {generator.device}, but negatives are drawn on the CPU, so that they are the same on "
            "all devices: make it with torch.Generator()"
        )
