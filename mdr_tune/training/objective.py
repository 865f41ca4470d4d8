"""The objective of training: the metric-learning loss on mined pairs or triplets, plus MDR, over the global batch.

With a cross-batch memory, the batch is also compared with the embeddings of earlier steps (Wang et al., CVPR 2020). The
memory joins in once `memory.start_epoch` epochs are trained, and is empty before, as in that paper's code.
"""

from typing import NamedTuple

import torch
from torch import nn

from mdr_tune.config.trial import TrialConfig
from mdr_tune.metric import BatchLabels, MDRLoss, apply_embedding_mode
from mdr_tune.metric.batch_labels import Labels, known_labels
from mdr_tune.metric.cross_batch_memory import CrossBatchMemory
from mdr_tune.metric.transfer import send
from mdr_tune.training.schedule import warmup_factor


class Terms(NamedTuple):
    """The scalar terms of one step's objective; only `total` has a gradient."""

    total: torch.Tensor
    dml_loss: torch.Tensor
    mdr_loss: torch.Tensor
    miner_fallback: torch.Tensor
    """Fraction of anchors for which the miner drew negatives uniformly, because all its weights were zero.

    It is the mean of both terms' fractions if the loss has a term for the batch and one for the memory.
    """


class Objective(nn.Module):
    """Compute total = loss + weight * MDR + level_decay * sum of squared levels (Kim & Park, AAAI 2021, section 3).

    Without MDR, the total is the loss alone. Levels that are not learned do not decay. `config` is the trial's; its
    labels are 0 to `num_classes` - 1, and its embeddings have `embedding_size` numbers.

    With a memory, the loss is loss(batch, batch) + memory.weight * loss(batch, memory), as in the code of the memory's
    authors. With `memory.batch_loss: false`, it is the second term alone, as in figure 2 of their paper and in
    pytorch-metric-learning's CrossBatchMemory. As in all three, the batch is put into the memory before the comparison,
    so that an anchor's positives and negatives are of the batch and of earlier steps. What is in the memory gets no
    gradient. An embedding of an anchor's own image from an earlier step is a positive like any other.

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
        self.memory: CrossBatchMemory | None = None
        if config.memory is not None:
            self.memory_settings = config.memory
            most = config.memory.added(config.epochs, config.iterations_per_epoch, config.batch.size)
            self.memory = CrossBatchMemory(config.memory.size, embedding_size, most)

    def forward(
        self, embeddings: torch.Tensor, labels: Labels, generator: torch.Generator, epochs_done: float = 0.0
    ) -> Terms:
        """Return the objective of one global batch.

        Args:
            embeddings: (N, D), raw embeddings of the global batch, in rank order, equal on all ranks.
            labels: (N,) class ids, or the batch's `BatchLabels`.
            generator: Generator for draws of the miner and the loss, on the CPU, in the same state on all ranks.
            epochs_done: Epochs, with fractions, that are completed after this step, for the warm-up of MDR's weight and
                the start of the memory.
        """
        raw, embeddings = embeddings, apply_embedding_mode(embeddings, self.mode)
        remembered = None
        if self.memory is not None and self._uses_memory(epochs_done):
            self.memory.add(raw, labels)
            remembered, their_labels = self.memory.recall(raw, self.mode)
            dml_loss, fallback = self._compare_with_memory(embeddings, labels, generator, remembered, their_labels)
        else:
            dml_loss, fallback = self._compare(embeddings, labels, generator)
        if self.mdr is None:
            return Terms(dml_loss, dml_loss.detach(), torch.zeros_like(dml_loss).detach(), fallback)
        earlier = None
        if remembered is not None and self.memory_settings.mdr == "both" and len(remembered) > len(embeddings):
            earlier = remembered[: -len(embeddings)]
        mdr_loss = self.mdr(embeddings, earlier)
        total = dml_loss + self.weight_at(epochs_done) * mdr_loss + self.level_decay * self.mdr.levels.pow(2).sum()
        return Terms(total, dml_loss.detach(), mdr_loss.detach(), fallback)

    def _compare(
        self,
        embeddings: torch.Tensor,
        labels: Labels,
        generator: torch.Generator,
        references: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of the batch against `references` (None: itself), and the term `miner_fallback`."""
        compared = () if references is None else (references,)  # losses without memory may lack the argument
        mined = self.miner(embeddings, labels, generator, *compared)
        loss = self.loss(embeddings, labels, mined, generator, *compared)
        fallback = getattr(mined, "fallback_fraction", None)
        return loss, loss.new_zeros(()) if fallback is None else fallback

    def _compare_with_memory(
        self,
        embeddings: torch.Tensor,
        labels: Labels,
        generator: torch.Generator,
        remembered: torch.Tensor,
        their_labels: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss with a memory of embeddings `remembered` (m, D), and the term `miner_fallback`.

        `their_labels` (m,) are the classes of these embeddings.
        """
        device = embeddings.device
        known = BatchLabels.against(known_labels(labels, device).on_cpu.cpu(), their_labels)
        known = known.map(lambda tensor: send(tensor, device))
        if not self.memory_settings.batch_loss:
            loss, fallback = self._compare(embeddings, known, generator, remembered)
            return self.memory_settings.weight * loss, fallback
        in_batch, fallback = self._compare(embeddings, labels, generator)
        loss, with_memory = self._compare(embeddings, known, generator, remembered)
        return in_batch + self.memory_settings.weight * loss, (fallback + with_memory) / 2

    def _uses_memory(self, epochs_done: float) -> bool:
        """Return whether the step that completes `epochs_done` epochs uses the memory."""
        return self.training and epochs_done > self.memory_settings.start_epoch

    def weight_at(self, epochs_done: float) -> float:
        """Return the weight of MDR after `epochs_done` epochs, including its warm-up."""
        return self.weight * warmup_factor(epochs_done, self.warmup_epochs)

    def describe(self, epochs_done: float) -> dict[str, float]:
        """Return the state after `epochs_done` epochs as metrics.

        The metrics are MDR's weight, levels and moving averages, and how much of the memory is filled, in percent.
        """
        filled = {} if self.memory is None else {"train/memory_filled": self.memory.share_filled}
        if self.mdr is None:
            return filled
        metrics = {f"mdr/level_{i}": level for i, level in enumerate(self.mdr.levels.tolist())}
        averages = {"mdr/mean": float(self.mdr.mean), "mdr/std": float(self.mdr.std)}
        return {"mdr/weight": self.weight_at(epochs_done), **metrics, **averages, **filled}
