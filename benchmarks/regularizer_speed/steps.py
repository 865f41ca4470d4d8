"""What is timed: the loss of a batch and its gradient, on both sides."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mdr_tune.metric import DistanceWeightedMiner, MDRLoss, triplet_margin_loss
from regularizer_speed.textbook import MARGIN, TextbookMDR, textbook_triplet_loss

DIMENSIONS = 512
IMAGES_PER_CLASS = 4
MDR_WEIGHT = 0.6

Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """A batch of N random embeddings, four a class.

    Attributes:
        count: N.
        with_triplets: Whether the step is that of training, distance-weighted triplets and MDR; else MDR alone.
    """

    count: int
    with_triplets: bool = False

    @property
    def name(self) -> str:
        kind = "distance-weighted triplets and MDR" if self.with_triplets else "MDR"
        return f"{kind}, forward and backward, N = {self.count}, D = {DIMENSIONS}"

    def embeddings(self, device: torch.device) -> Tensor:
        """Return (N, D), of length 1 in the mean, the same at each call."""
        generator = torch.Generator().manual_seed(0)
        scale = 1 / math.sqrt(DIMENSIONS)
        return (torch.randn(self.count, DIMENSIONS, generator=generator) * scale).to(device).requires_grad_()

    def labels(self) -> Tensor:
        """Return (N,), on the CPU."""
        return torch.arange(self.count) // IMAGES_PER_CLASS


def our_loss(problem: Problem, device: torch.device) -> Loss:
    """Return what `TrialSession` computes of a batch's embeddings."""
    mdr = MDRLoss().to(device)
    if not problem.with_triplets:
        return mdr
    miner, labels = DistanceWeightedMiner(), problem.labels()
    generator = torch.Generator().manual_seed(0)

    def loss(embeddings: Tensor) -> Tensor:
        triplets = miner(embeddings, labels, generator)
        triplet = triplet_margin_loss(embeddings, triplets.anchors, triplets.positives, triplets.negatives, MARGIN)
        total: Tensor = triplet + MDR_WEIGHT * mdr(embeddings)
        return total

    return loss


def their_loss(problem: Problem, device: torch.device) -> Loss:
    """Return the same, by the formulas as they are written."""
    mdr = TextbookMDR().to(device)
    if not problem.with_triplets:
        return mdr
    labels = problem.labels().to(device)
    return lambda embeddings: textbook_triplet_loss(embeddings, labels) + MDR_WEIGHT * mdr(embeddings)
