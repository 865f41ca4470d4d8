"""One trial on one rank, as it lives between two commands: model, objective, optimiser, generators, epoch."""

import time
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data.augment import augment_affine, draw_affine_params
from mdr_tune.data.dataset import ImageDataset, SplitName
from mdr_tune.data.sampler import BatchSampler
from mdr_tune.data.seeding import derive_seed
from mdr_tune.metric import gather_in_rank_order, shard_sizes, shard_slice
from mdr_tune.training.batch_norm import use_global_batch_norm
from mdr_tune.training.evaluate import evaluate
from mdr_tune.training.model import EmbeddingModel
from mdr_tune.training.objective import Objective, Terms
from mdr_tune.training.ranks import Ranks

CHECKPOINT_VERSION = 1


class TrialDiverged(RuntimeError):  # noqa: N818 - an outcome of a trial more than an error of the program
    """Embeddings or losses stopped being finite numbers."""


class TrialSession:
    """A trial from its first epoch to its last.

    All that it does follows from `config` and `dataset`; the number of ranks changes rounding only, and what the
    process ran before changes nothing.

    Example (one process, no Ray):
        >>> from mdr_tune.data import load_dataset
        >>> session = TrialSession(TrialConfig(epochs=1, iterations_per_epoch=2), load_dataset("glyphs"))
        >>> metrics = session.run_epoch()
        >>> round(metrics["epoch"])
        1

    Args:
        config: The trial.
        dataset: The data that `config.data` names.
        ranks: Where this process stands; every rank makes the same calls in the same order.
        dtype: Of parameters and losses.
    """

    def __init__(
        self,
        config: TrialConfig,
        dataset: ImageDataset,
        ranks: Ranks | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config, self.dataset, self.ranks = config, dataset, ranks or Ranks()
        self.epoch = 0
        """Epochs completed."""
        torch.manual_seed(derive_seed("model", config.seed))
        device = self.ranks.device
        self.model = EmbeddingModel.from_config(config).to(device, dtype)
        self.objective = Objective(config).to(device, dtype)
        use_global_batch_norm(self.model, self.ranks)
        self._parallel_model = _data_parallel(self.model, self.ranks)
        train = dataset.split("train")
        self._images, self._labels = train.images, train.labels
        self._sampler = BatchSampler(train.labels, config.batch.size, config.batch.images_per_class, config.seed)
        self._miner_generator = torch.Generator(device).manual_seed(derive_seed("miner", config.seed))
        self._optimizer = torch.optim.Adam(
            [*self.model.parameters(), *self.objective.parameters()],
            lr=config.optimizer.learning_rate,
            weight_decay=config.optimizer.weight_decay,
        )
        self._schedule = torch.optim.lr_scheduler.MultiStepLR(
            self._optimizer, config.optimizer.milestones, config.optimizer.gamma
        )

    def run_epoch(self) -> dict[str, float]:
        """Train one epoch and evaluate on the validation classes; returns the metrics, grouped by name.

        Raises:
            TrialDiverged: Numbers stopped being finite.
        """
        start = time.perf_counter()
        metrics = self.train_epoch()
        train_s = time.perf_counter() - start
        metrics.update(self.evaluate("validation"))
        metrics["time/epoch_s"] = time.perf_counter() - start
        metrics["time/images_per_s"] = self.config.iterations_per_epoch * self.config.batch.size / train_s
        return metrics

    def train_epoch(self) -> dict[str, float]:
        """Train one epoch; returns its mean losses and the state of MDR after it."""
        self.model.train()
        if self.config.freeze_batch_norm:
            _freeze_batch_norm(self.model)
        batches = self._sampler.epoch_batches(self.epoch, self.config.iterations_per_epoch)  # (steps, B)
        learning_rate = self._optimizer.param_groups[0]["lr"]
        steps = [self._step(number, indices) for number, indices in enumerate(batches)]
        self._schedule.step()
        self.epoch += 1
        total, dml_loss, mdr_loss, fallback = torch.stack([torch.stack(terms) for terms in steps]).mean(0).tolist()
        losses = {"train/loss": total, "train/dml_loss": dml_loss, "train/miner_fallback": fallback}
        if self.config.mdr is not None:
            losses["train/mdr_loss"] = mdr_loss
        return {"epoch": self.epoch, **losses, "train/learning_rate": learning_rate, **self.objective.describe()}

    def _step(self, number: int, indices: torch.Tensor) -> Terms:
        """One optimiser step on the global batch of image `indices` (B,); returns its detached terms."""
        batch_size, ranks = len(indices), self.ranks
        mine = shard_slice(batch_size, ranks.world_size, ranks.rank)
        params = draw_affine_params(batch_size, self.config.seed, self.epoch, number)[mine]  # (n, 4)
        images = augment_affine(self._images[indices[mine]].to(ranks.device), params)
        local = self._parallel_model(images)  # (n, D)
        embeddings = gather_in_rank_order(local, shard_sizes(batch_size, ranks.world_size), ranks.group)  # (B, D)
        self._check_finite(embeddings, number)
        labels = self._labels[indices].to(ranks.device)
        terms: Terms = self.objective(embeddings, labels, self._miner_generator)
        self._check_finite(terms.total, number)
        self._optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        self._optimizer.step()
        return terms._replace(total=terms.total.detach())

    def _check_finite(self, values: torch.Tensor, step: int) -> None:
        if not bool(torch.isfinite(values).all()):
            what = "the loss" if values.ndim == 0 else "an embedding"
            raise TrialDiverged(f"{what} is not finite in epoch {self.epoch + 1}, step {step + 1}")

    def evaluate(self, split: SplitName) -> dict[str, float]:
        """Return the retrieval metrics on a split, as `val/...` or `test/...`, in percent."""
        prefix = {"train": "train", "validation": "val", "test": "test"}[split]
        metrics = evaluate(self.model, self.dataset.split(split), self.ranks)
        return {f"{prefix}/{name}": value for name, value in metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on: tensors and plain values, so that `weights_only=True` loads it."""
        return {
            "version": CHECKPOINT_VERSION,
            "config": self.config.model_dump(),
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "miner_generator": self._miner_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`, written by any number of ranks.

        Raises:
            ValueError: The state is of another version.
            RuntimeError: Shapes differ: the state is of another model.
        """
        if state["version"] != CHECKPOINT_VERSION:
            raise ValueError(f"checkpoint of version {state['version']}; this program reads {CHECKPOINT_VERSION}")
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._miner_generator.set_state(state["miner_generator"].cpu())
        self.epoch = state["epoch"]


def _data_parallel(model: nn.Module, ranks: Ranks) -> nn.Module:
    """Wrap the model in DDP if there are several ranks. BatchNorm's buffers stay equal on all by themselves."""
    if ranks.world_size == 1:
        return model
    return DistributedDataParallel(model, process_group=ranks.group, forward_sync_buffers=False)


def _freeze_batch_norm(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
