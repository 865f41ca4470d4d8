"""What is minimised: the metric-learning loss on mined triplets, plus MDR, over the global batch."""

from typing import NamedTuple

import torch
from torch import nn

from mdr_tune.config.trial import TrialConfig
from mdr_tune.metric import DistanceWeightedMiner, MDRLoss, TripletLoss, apply_embedding_mode


class Terms(NamedTuple):
    """The scalar parts of one step's objective; `total` carries the gradient."""

    total: torch.Tensor
    dml_loss: torch.Tensor
    mdr_loss: torch.Tensor
    miner_fallback: torch.Tensor
    """Fraction of anchors whose negative was drawn uniformly because all weights were zero."""


class Objective(nn.Module):
    """total = loss + weight * MDR + level_decay * sum of squared levels (Kim & Park, AAAI 2021, section 3).

    Its parameters (the levels) see the full gradient on each rank, because each rank computes the loss of the whole
    gathered batch. They are therefore kept out of DDP, which would average equal gradients at best.
    """

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        self.mode = config.embedding.mode
        self.loss = TripletLoss(config.loss.margin)
        self.miner = DistanceWeightedMiner(config.miner.weights)
        self.mdr: MDRLoss | None = None
        if config.mdr is not None:
            self.mdr = MDRLoss(config.mdr.initial_levels(), config.mdr.momentum, config.mdr.statistics)
            self.weight, self.level_decay = config.mdr.weight, config.mdr.level_decay

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> Terms:
        """Score one global batch.

        Args:
            embeddings: (N, D) raw embeddings of the global batch, in rank order, equal on all ranks.
            labels: (N,) class ids.
            generator: The miner's, on the embeddings' device, in the same state on all ranks.
        """
        embeddings = apply_embedding_mode(embeddings, self.mode)
        triplets = self.miner(embeddings, labels, generator)
        dml_loss = self.loss(embeddings, triplets.anchors, triplets.positives, triplets.negatives)
        if self.mdr is None:
            zero = torch.zeros_like(dml_loss).detach()
            return Terms(dml_loss, dml_loss.detach(), zero, triplets.fallback_fraction)
        mdr_loss = self.mdr(embeddings)
        total = dml_loss + self.weight * mdr_loss + self.level_decay * self.mdr.levels.pow(2).sum()
        return Terms(total, dml_loss.detach(), mdr_loss.detach(), triplets.fallback_fraction)

    def describe(self) -> dict[str, float]:
        """Return the levels and the moving averages, as metrics."""
        if self.mdr is None:
            return {}
        metrics = {f"mdr/level_{i}": level for i, level in enumerate(self.mdr.levels.tolist())}
        return {**metrics, "mdr/mean": float(self.mdr.mean), "mdr/std": float(self.mdr.std)}
