"""The objective of training: the metric-learning loss on mined pairs or triplets, plus MDR, over the global batch."""

from typing import NamedTuple

import torch
from torch import nn

from mdr_tune.config.trial import TrialConfig
from mdr_tune.metric import MDRLoss, apply_embedding_mode
from mdr_tune.metric.batch_labels import Labels
from mdr_tune.training.schedule import warmup_factor


class Terms(NamedTuple):
    """The scalar terms of one step's objective; only `total` has a gradient."""

    total: torch.Tensor
    dml_loss: torch.Tensor
    mdr_loss: torch.Tensor
    miner_fallback: torch.Tensor
    """Fraction of anchors for which the miner drew negatives uniformly, because all its weights were zero."""


class Objective(nn.Module):
    """Compute total = loss + weight * MDR + level_decay * sum of squared levels (Kim & Park, AAAI 2021, section 3).

    Without MDR, the total is the loss alone. Levels that are not learned do not decay. `config` is the trial's; its
    labels are 0 to `num_classes` - 1, and its embeddings have `embedding_size` numbers.

    The parameters of the objective (the levels, a loss's proxies) are kept out of DDP. They get the full gradient on
    each rank, because each rank computes the loss of the whole gathered batch, so that there is nothing to average.
    """

    def __init__(self, config: TrialConfig, num_classes: int, embedding_size: int) -> None:
        super().__init__()
        self.mode = config.embedding_mode
        self.miner = config.chosen_miner.build()
        self.loss = config.loss.build(embedding_size, num_classes)
        self.mdr: MDRLoss | None = None
        if config.mdr is not None:
            levels = config.mdr.initial_levels()
            self.mdr = MDRLoss(levels, config.mdr.momentum, config.mdr.statistics, config.mdr.learn_levels)
            self.weight, self.warmup_epochs = config.mdr.weight, config.mdr.warmup_epochs
            self.level_decay = config.mdr.level_decay if config.mdr.learn_levels else 0.0

    def forward(
        self, embeddings: torch.Tensor, labels: Labels, generator: torch.Generator, epochs_done: float = 0.0
    ) -> Terms:
        """Return the objective of one global batch.

        Args:
            embeddings: (N, D), raw embeddings of the global batch, in rank order, equal on all ranks.
            labels: (N,) class ids, or the batch's `BatchLabels`.
            generator: Generator for draws of the miner and the loss, on the CPU, in the same state on all ranks.
            epochs_done: Epochs, with fractions, that are completed after this step, for the warm-up of MDR's weight.
        """
        embeddings = apply_embedding_mode(embeddings, self.mode)
        mined = self.miner(embeddings, labels, generator)
        dml_loss = self.loss(embeddings, labels, mined, generator)
        fallback = getattr(mined, "fallback_fraction", None)
        fallback = dml_loss.new_zeros(()) if fallback is None else fallback
        if self.mdr is None:
            return Terms(dml_loss, dml_loss.detach(), torch.zeros_like(dml_loss).detach(), fallback)
        mdr_loss = self.mdr(embeddings)
        total = dml_loss + self.weight_at(epochs_done) * mdr_loss + self.level_decay * self.mdr.levels.pow(2).sum()
        return Terms(total, dml_loss.detach(), mdr_loss.detach(), fallback)

    def weight_at(self, epochs_done: float) -> float:
        """Return the weight of MDR after `epochs_done` epochs, including its warm-up."""
        return self.weight * warmup_factor(epochs_done, self.warmup_epochs)

    def describe(self, epochs_done: float) -> dict[str, float]:
        """Return MDR's weight after `epochs_done` epochs, levels and moving averages as metrics; none without MDR."""
        if self.mdr is None:
            return {}
        metrics = {f"mdr/level_{i}": level for i, level in enumerate(self.mdr.levels.tolist())}
        averages = {"mdr/mean": float(self.mdr.mean), "mdr/std": float(self.mdr.std)}
        return {"mdr/weight": self.weight_at(epochs_done), **metrics, **averages}
