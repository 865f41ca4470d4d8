"""What a miner finds in a batch: indices of triplets, of pairs, or None for all of them."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mdr_tune.metric.batch_labels import BatchLabels, Labels, class_ids, known_labels
from mdr_tune.metric.transfer import send


class Triplets(NamedTuple):
    """Indices into a batch, and how the miner fared."""

    anchors: Tensor  # (T,), int64
    positives: Tensor  # (T,), int64
    negatives: Tensor  # (T,), int64
    fallback_fraction: Tensor  # (), share of the anchors with a positive whose negatives were drawn uniformly


class Pairs(NamedTuple):
    """Indices into a batch: P positive pairs and, apart from them, Q negative pairs."""

    anchors: Tensor  # (P,), int64
    positives: Tensor  # (P,), int64
    negative_anchors: Tensor  # (Q,), int64
    negatives: Tensor  # (Q,), int64


def no_triplets(embeddings: Tensor) -> Triplets:
    """Return what a miner returns that found nothing, on the device of `embeddings`."""
    nothing = torch.empty(0, dtype=torch.int64, device=embeddings.device)
    return Triplets(nothing, nothing, nothing, embeddings.new_zeros(()))


Mined = Triplets | Pairs | None
"""None stands for all pairs, or all triplets, of the batch."""


class Miner(Protocol):
    """Chooses what a loss sees of a batch.

    It draws from nothing but the generator, so that ranks with alike generators choose alike.
    """

    @property
    def can_fall_back(self) -> bool:
        """Whether `Triplets.fallback_fraction` says anything; where it does not, it is 0."""

    def __call__(self, embeddings: Tensor, labels: Labels, generator: torch.Generator) -> Mined:
        """Choose from a batch, without recording a gradient.

        Args:
            embeddings: (N, D), as the loss will see them.
            labels: (N,), integers, on any device; or what is known of them.
            generator: on the CPU, wherever the embeddings are, in the same state on all ranks.

        Returns:
            Indices on the device of `embeddings`; empty ones where the batch has nothing to offer.

        Raises:
            ValueError: wrong shapes, or a generator of a GPU.
        """


def draw_negatives(weights: Tensor, labels: BatchLabels, generator: torch.Generator) -> Tensor:
    """Draw a negative for each positive pair, by the weights of its anchor's row.

    For each row as many are drawn as the most frequent anchor needs: a row is summed up once, and not once for each of
    its pairs.

    Args:
        weights: (N, N), not negative, the sum of an anchor's row above 0.
        labels: the batch's, with P positive pairs, P above 0.
        generator: on the CPU.

    Returns:
        (P,), columns of weight above 0.
    """
    of_anchors = weights[labels.rows]  # (R, N)
    if weights.device.type == "cpu":
        drawn = torch.multinomial(of_anchors, labels.draws, replacement=True, generator=generator)
    else:
        drawn = draw_by_cpu(of_anchors, labels.draws, generator)
    return drawn.flatten()[labels.slots]


def draw_by_cpu(weights: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Do what `torch.multinomial` does on a CPU, with replacement, by the same random numbers, for weights on a GPU.

    The columns are the same but where rounding decides, and the generator's state afterwards is the same. Nobody waits:
    a row with numbers that are not finite gives any of its columns.

    Args:
        weights: (R, N), not negative, the sum of each row above 0.
        draws: from each row, at least 1.
        generator: on the CPU.

    Returns:
        (R, draws), columns.
    """
    if draws == 1:  # torch's short cut for one draw
        exponential = torch.empty(weights.shape, dtype=weights.dtype).exponential_(generator=generator)
        return (weights / send(exponential, weights.device)).argmax(dim=1, keepdim=True)
    uniform = torch.rand(len(weights), draws, dtype=torch.float64, generator=generator)
    sums = weights.cumsum(dim=1, dtype=torch.float64)
    places = torch.searchsorted(sums, send(uniform, weights.device) * sums[:, -1:])
    return places.clamp_(max=weights.shape[1] - 1)  # NaN is found behind the last column


def mined_triplets(mined: Mined, labels: Labels) -> tuple[Tensor, Tensor, Tensor]:
    """Return anchors, positives and negatives, (T,) each, whatever the miner returned.

    Pairs become the triplets of each positive pair with each negative pair of the same anchor, None becomes
    all triplets of the batch, by anchor, positive and negative. The same triplets in the same order as
    pytorch-metric-learning's `convert_to_triplets`, without its N x N x N intermediate.

    Args:
        mined: what a miner returned for the batch.
        labels: (N,), or what is known of them; used for None only.
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
    else:  # slower on a CPU; a GPU need not be asked how many there are
        of_pair, negatives = torch.nonzero_static(is_triplet, size=labels.num_triplets).unbind(1)
    return labels.anchors[of_pair], labels.positives[of_pair], negatives


def check_generator(generator: torch.Generator) -> None:
    """Raise a ValueError unless `generator` is on the CPU, where it draws the same whatever computes."""
    if generator.device.type != "cpu":
        raise ValueError(
            f"the generator is on {generator.device}, but negatives are drawn on the CPU, so that they are the same on "
            "all devices: make it with torch.Generator()"
        )
