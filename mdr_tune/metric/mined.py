"""What a miner finds in a batch: indices of triplets, of pairs, or None for all of them."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


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


Mined = Triplets | Pairs | None
"""None stands for all pairs, or all triplets, of the batch."""


class Miner(Protocol):
    """Chooses what a loss sees of a batch.

    It draws from nothing but the generator, so that ranks with alike generators choose alike.
    """

    @property
    def can_fall_back(self) -> bool:
        """Whether `Triplets.fallback_fraction` says anything; where it does not, it is 0."""

    def __call__(self, embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> Mined:
        """Choose from a batch, without recording a gradient.

        Args:
            embeddings: (N, D), as the loss will see them.
            labels: (N,), integers.
            generator: on the device of `embeddings`, in the same state on all ranks.

        Returns:
            Indices on the device of `embeddings`; empty ones where the batch has nothing to offer.

        Raises:
            ValueError: wrong shapes, or a generator of another device.
        """


def positive_pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return all ordered pairs of two members of a class, by anchor and then positive; two of (P,)."""
    same = labels[:, None] == labels[None, :]
    anchors, positives = same.fill_diagonal_(False).nonzero(as_tuple=True)
    return anchors, positives


def draw_negatives(weights: Tensor, anchors: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a negative for each anchor, by the weights of its row.

    For each row as many are drawn as the most frequent anchor needs: a row is summed up once, and not once for each of
    its pairs.

    Args:
        weights: (N, N), not negative, the sum of an anchor's row above 0.
        anchors: (T,), ascending, T above 0.
        generator: on the device of `weights`.

    Returns:
        (T,), columns of weight above 0.
    """
    counts = torch.bincount(anchors, minlength=len(weights))
    rows = counts.nonzero().squeeze(1)
    drawn = anchors.new_zeros(len(weights), int(counts.max()))
    drawn[rows] = torch.multinomial(weights[rows], drawn.shape[1], replacement=True, generator=generator)
    first = counts.cumsum(0).sub_(counts)
    return drawn[anchors, torch.arange(len(anchors), device=anchors.device) - first[anchors]]


def mined_triplets(mined: Mined, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return anchors, positives and negatives, (T,) each, whatever the miner returned.

    Pairs become the triplets of each positive pair with each negative pair of the same anchor, None becomes
    all triplets of the batch, by anchor, positive and negative. The same triplets in the same order as
    pytorch-metric-learning's `convert_to_triplets`, without its N x N x N intermediate.

    Args:
        mined: what a miner returned for the batch.
        labels: (N,), used for None only.
    """
    if isinstance(mined, Triplets):
        return mined.anchors, mined.positives, mined.negatives
    if isinstance(mined, Pairs):
        of_positive, of_negative = (mined.anchors[:, None] == mined.negative_anchors).nonzero(as_tuple=True)
        return mined.anchors[of_positive], mined.positives[of_positive], mined.negatives[of_negative]
    anchors, positives = positive_pairs(labels)
    of_pair, negatives = (labels[anchors][:, None] != labels).nonzero(as_tuple=True)
    return anchors[of_pair], positives[of_pair], negatives


def check_generator(generator: torch.Generator, embeddings: Tensor) -> None:
    """Raise a ValueError unless `generator` draws on the device of `embeddings`."""
    if generator.device.type != embeddings.device.type:
        raise ValueError(
            f"the generator is on {generator.device} and the embeddings on {embeddings.device}: "
            f"make it with torch.Generator(device={str(embeddings.device)!r})"
        )
