"""The state of one trial on one rank, which a worker keeps between commands: model, optimiser, generators, epoch."""

import contextlib
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map_only

from mdr_tune.config.chosen_metrics import MetricsConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset
from mdr_tune.data.augmentations.augmentation import Augmentation, CenterCrop
from mdr_tune.data.dataset import ImageDataset, ImageSplit, SearchSplitName, SplitName
from mdr_tune.data.sampler import BatchSampler
from mdr_tune.data.seeding import derive_seed
from mdr_tune.metric import gather_in_rank_order, shard_sizes, shard_slice
from mdr_tune.metric.retrieval import EmbeddingsNotFinite
from mdr_tune.records.distance_snapshot import DistanceSnapshot
from mdr_tune.records.query_details import TestDetails
from mdr_tune.training.batch_norm import synchronize_batch_norm
from mdr_tune.training.collapse import distance_moments, is_collapsed
from mdr_tune.training.evaluate import EVALUATION_BATCH, chosen_thresholds, evaluate
from mdr_tune.training.examine import examine
from mdr_tune.training.fine_tuning import freeze, freeze_idle
from mdr_tune.training.finite import FiniteNumbers, TrialDiverged
from mdr_tune.training.fixed_views import FixedViews
from mdr_tune.training.frozen_backbone import BackboneRecipe, fingerprint, load_model_state, state_of
from mdr_tune.training.frozen_features import FrozenFeatures
from mdr_tune.training.global_draws import make_draws_global
from mdr_tune.training.input_pipeline import InputBatch, InputPipeline
from mdr_tune.training.large_batch import embed_in_chunks
from mdr_tune.training.memory import PeakMemory, device_name
from mdr_tune.training.model import EmbeddingModel
from mdr_tune.training.objective import Objective, Terms
from mdr_tune.training.optimizer import load_optimizer_state, make_optimizer, set_learning_rates
from mdr_tune.training.ranks import Ranks
from mdr_tune.training.snapshot import held_shares, normalized_distances, snapshot_epochs, take_snapshot
from mdr_tune.training.trial_fit import check_fits
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress, no_progress

CHECKPOINT_VERSION, WITHOUT_BACKBONE = 2, 3
"""Version of a state; version of a state that has no backbone, since it is frozen."""
AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class TrialSession:
    """Train and evaluate one trial, from its first epoch to its last.

    The results depend on `config` and `dataset` alone. The number of ranks changes the rounding only. Trials that ran
    in the same process before change nothing.

    Example (one process, no Ray):
        >>> session = TrialSession.from_config({"epochs": 1, "iterations_per_epoch": 2})
        >>> session.run_epoch()["epoch"]  # number of completed epochs
        1

    Args:
        config: Configuration of the trial.
        dataset: The data set that `config.data` names.
        ranks: Rank of this process; None is a single rank. Every rank must make the same calls in the same order.
        dtype: Dtype of parameters and losses.
        test: The test classes. ValueError if they are None and `config.measured_curves` includes `test`.
    """

    def __init__(
        self,
        config: TrialConfig,
        dataset: ImageDataset,
        ranks: Ranks | None = None,
        dtype: torch.dtype = torch.float32,
        test: ImageSplit | None = None,
    ) -> None:
        if "test" in config.measured_curves and test is None:
            raise ValueError("the trial is evaluated on the test classes after each epoch: give them (test)")
        if config.protocol == "paper":
            dataset = dataset.with_all_training_classes()
        self.config, self.dataset, self.ranks = config, dataset, ranks or Ranks()
        self._curve_test = test
        self.snapshot: DistanceSnapshot | None = None
        """Snapshot of the distances after the last trained epoch; None if that is not one of `snapshot_epochs`."""
        self.epoch = 0
        """Number of completed epochs."""
        self.progress = 0
        """Number of steps and evaluated batches of this rank so far. As long as it grows, the rank is not stuck."""
        self.after_step: Callable[[int, int], None] = lambda done, total: None
        """Function that is called after each training step, with the numbers of done and of all steps of the epoch."""
        self._peak_memory = PeakMemory(self.ranks)
        device, train = self.ranks.device, dataset.split("train")
        augmentation, views = _augmentation(config), config.backbone.views
        self._views = FixedViews(augmentation, views, len(train), dataset.image_shape) if views else None
        self._input = InputPipeline(train, augmentation, config.seed, self.ranks, views=self._views)
        self._image_shape = self._input.image_shape
        torch.manual_seed(derive_seed("model", config.seed))
        self.model = EmbeddingModel.from_config(config, image_size=self._image_shape[-1])
        self.model.backbone.check_image_shape(self._image_shape)
        self._recipe = BackboneRecipe.of(self.model, config, self._image_shape[-1])
        self.model.to(device, dtype)
        self._frozen = freeze(self.model.backbone, config.backbone)
        self.objective = Objective(config, train.num_classes, self.model.embedding_size).to(device, dtype)
        synchronize_batch_norm(self.model.head, self.ranks, config.batch.size)
        if not config.freezes_batch_norm:
            synchronize_batch_norm(self.model.backbone, self.ranks, config.batch.size)
        if config.compile:
            _compile(self.model)
        self._labels = train.labels
        self._sampler = BatchSampler(train.labels, config.batch.size, config.batch.images_per_class, config.seed)
        self._miner_generator = torch.Generator().manual_seed(derive_seed("miner", config.seed))
        self._optimizer = make_optimizer(config.optimizer, self.model, self.objective)
        freeze_idle(self.model.backbone)  # the optimiser keeps them, as in older checkpoints, and skips them
        self._thawed = [parameter for parameter in self.model.backbone.parameters() if parameter.requires_grad]
        self._parallel_model: nn.Module | None = None
        self._learning_rates: dict[str, float] = {}
        self._draws = make_draws_global(self.model)
        self._autocast = AUTOCAST[config.precision]
        self._scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.model.reads_features = config.keeps_features and bool(dataset.content)
        self._features: FrozenFeatures | None = None

    @classmethod
    def from_config(
        cls,
        config: TrialConfig | Mapping[str, Any],
        ranks: Ranks | None = None,
        dtype: torch.dtype = torch.float32,
        test: ImageSplit | None = None,
    ) -> "TrialSession":
        """Check a trial's configuration, load its data set, and return its session. Each rank must make this call.

        `config` may also be the keys that a sweep file has below `trial`, where a missing key has its default. For
        `ranks`, `dtype` and `test` see the class.

        Raises:
            UserError: A key is unknown, a value is wrong or does not fit the data set, `test` is missing, or data or
                weights cannot be obtained.
        """
        if not isinstance(config, TrialConfig):
            config = TrialConfig.from_keys(config)
        if "test" in config.measured_curves and test is None:
            raise UserError("curves: the test classes are to be evaluated after each epoch: give them as `test`")
        dataset = load_dataset(config.data)
        check_fits(config, dataset)
        return cls(config, dataset, ranks, dtype, test)

    def run_epoch(self) -> dict[str, float]:
        """Train one epoch, evaluate, and return the metrics by name. Errors are those of `train_epoch`.

        The model is evaluated on the validation classes if `config.protocol` is `validation`, and on each split in
        `config.measured_curves`.
        """
        start = time.perf_counter()
        metrics = self.train_epoch()
        train_s = time.perf_counter() - start
        if self.config.protocol == "validation":
            metrics.update(self.evaluate("validation"))
        metrics.update(self._curves())
        metrics["time/epoch_s"] = time.perf_counter() - start
        metrics["time/images_per_s"] = self.config.iterations_per_epoch * self.config.batch.size / train_s
        metrics["memory/peak_gib"] = self._peak_memory.peak_gib()
        return metrics

    def _curves(self) -> dict[str, float]:
        """Return metrics on the splits in `config.measured_curves`, such as `curves/train_recall_at_1`, in percent."""
        metrics: dict[str, float] = {}
        for name in self.config.measured_curves:
            split = self._curve_test if name == "test" else self.dataset.split("train")
            assert split is not None  # the constructor has checked it
            metrics |= {f"curves/{name}_{metric}": value for metric, value in self._metrics_on(name, split).items()}
        return metrics

    @property
    def device_name(self) -> str:
        """Name of the GPU that this rank computes on, or `cpu`."""
        return device_name(self.ranks.device)

    def train_epoch(self) -> dict[str, float]:
        """Train one epoch and return its metrics.

        They are the epoch's mean losses, the distances in its last batch, the learning rates, and MDR's state after it.

        Raises:
            TrialDiverged: An embedding or a loss is not finite, or the embeddings collapsed.
        """
        self._prepare_model()
        batches = self._sampler.epoch_batches(self.epoch, self.config.iterations_per_epoch)  # (steps, B)
        self._finite_numbers = FiniteNumbers(self.epoch + 1)
        if self.model.reads_features and self._features is None:
            self._read_features()
        steps = []
        for number, batch in enumerate(self._input.epoch(self.epoch, batches)):
            steps.append(self._step(number, batch))
            self.after_step(number + 1, len(batches))
        self._finite_numbers.end_epoch()
        distances = self._distances(batches[-1])
        self.epoch += 1
        means = _means(torch.stack([torch.stack(list(step.values())) for step in steps])).tolist()
        losses = dict(zip(steps[0], means, strict=True))
        if self._scaler.is_enabled():
            losses["train/skipped_steps"] *= len(steps)
        return {
            "epoch": self.epoch,
            **losses,
            **distances,
            **self._learning_rates,
            **self.objective.describe(self.epoch),
        }

    def _prepare_model(self) -> None:
        """Put all layers into the mode, train or eval, of the next epoch, and freeze or thaw the backbone.

        DDP takes only parameters that are trained, so it is made anew when other parameters are trained.
        """
        self.model.train()
        backbone = self.model.backbone
        if self.config.freezes_batch_norm:
            _freeze_batch_norm(backbone)
        is_frozen = self.epoch < self.config.backbone.frozen_epochs
        for module in [backbone] if is_frozen else self._frozen:
            module.eval()
        changed = [parameter for parameter in self._thawed if parameter.requires_grad == is_frozen]
        if changed or self._parallel_model is None:
            self._parallel_model = None  # the old one must not see gradients of the new one
            for parameter in changed:
                parameter.requires_grad_(not is_frozen)
            self._parallel_model = _data_parallel(self.model, self.ranks, backbone.skips_parameters)

    def prepare_features(self, progress: Progress = no_progress) -> None:
        """Compute the features of a frozen backbone that the epochs need and no file has, if features are kept.

        `progress` is called meanwhile with the number of images whose features are there. No rank waits for another
        rank, so that a node may take longer than the others. Without this call, the first epoch computes the features.
        """
        if not self.model.reads_features:
            return
        found = self._features or self._read_features(progress)
        if self.config.protocol == "validation":
            found.evaluation(self.dataset.split("validation"), "validation")
        for name in self.config.measured_curves:
            split = self._curve_test if name == "test" else self.dataset.split("train")
            assert split is not None  # the constructor has checked it
            found.evaluation(split, name)

    def _read_features(self, progress: Progress = no_progress) -> FrozenFeatures:
        """From now on, train and evaluate on kept features. Compute missing ones, and return the object with them."""
        known = self._recipe if self.model.dtype == torch.float32 else None  # the recipe's hash is of float32
        backbone = fingerprint(self.model.backbone) if known is None else known.fingerprint
        content, step = self.dataset.content, self._count_progress
        found = FrozenFeatures(self.model, self.config, content, backbone, self._views, self._autocast, step, progress)
        train = found.training(self.dataset.split("train"))
        self._input = InputPipeline(train, CenterCrop(None), self.config.seed, self.ranks, views=self._views)
        self._features = found
        return found

    def _step(self, number: int, batch: InputBatch) -> dict[str, torch.Tensor]:
        """Make the optimiser step `number` (from 0) of the epoch on a global `batch`; return the step's metrics."""
        ranks = self.ranks
        iteration = self.epoch * self.config.iterations_per_epoch + number
        self._learning_rates = set_learning_rates(self._optimizer, self.config, iteration)
        self._optimizer.zero_grad(set_to_none=True)
        size = len(batch.labels)  # B
        local, second_pass = self._embed(number, batch.images, size)  # (n, D)
        embeddings = gather_in_rank_order(local, shard_sizes(size, ranks.world_size), ranks.group)  # (B, D)
        embeddings = self._finite_numbers.embeddings(embeddings, number)
        self._last_embeddings = embeddings.detach()
        epochs_done = self.epoch + (number + 1) / self.config.iterations_per_epoch
        terms: Terms = self.objective(embeddings, batch.labels, self._miner_generator, epochs_done)
        self._finite_numbers.loss(terms.total, number)
        self._scaler.scale(terms.total).backward()
        second_pass()
        ranks.share_gradients(self.objective)
        self._scaler.unscale_(self._optimizer)
        measured = self._measured(terms)
        if self.config.optimizer.clip_gradient_norm is not None:
            measured["train/gradient_norm"] = self._clip_gradients(self.config.optimizer.clip_gradient_norm)
        self._scaler.step(self._optimizer)
        if self._scaler.is_enabled():
            measured["train/skipped_steps"] = self._lower_scale(torch.ones_like(terms.dml_loss))
        self.progress += 1
        return measured

    def _lower_scale(self, one: torch.Tensor) -> torch.Tensor:
        """Update the scale of the loss for fp16. Return 1 if the scale was lowered, else 0, as a tensor ().

        The scale is lowered if gradients overflowed in a step, which the optimiser has then skipped. `one` is a tensor
        () of 1 on the device.
        """
        before = self._scaler.scale(one)  # `get_scale` would wait for a GPU
        self._scaler.update()
        return one * (self._scaler.scale(one) < before)

    def _distances(self, batch: torch.Tensor) -> dict[str, float]:
        """Return metrics of the distances within the last global `batch` (indices (B,)), and set `self.snapshot`.

        The metrics are the same on all ranks. The snapshot is None if the epoch is not one of `snapshot_epochs`. If the
        embeddings collapsed, raise TrialDiverged.
        """
        mean, std, norm = distance_moments(self._last_embeddings, self.config.embedding_mode)
        if is_collapsed(mean, std, norm, self._autocast or self._last_embeddings.dtype):
            raise TrialDiverged(
                f"the embeddings collapsed in epoch {self.epoch + 1}: their distances are {mean:.3g}, with a standard "
                f"deviation of {std:.3g}, at a norm of {norm:.3g}"
            )
        mdr, labels = self.objective.mdr, self._labels[batch].to(self._last_embeddings.device)
        z, same = normalized_distances(self._last_embeddings, labels, self.config.embedding_mode, mdr)
        epoch = self.epoch + 1
        wanted = epoch in snapshot_epochs(self.config.epochs)
        self.snapshot = take_snapshot(epoch, z, same, mdr) if wanted else None
        shares = [] if mdr is None else held_shares(z, mdr.levels.detach())
        held = {f"mdr/held_{i}": share for i, share in enumerate(shares)}
        return {"train/distance_mean": mean, "train/distance_std": std, **held}

    def _embed(self, number: int, images: torch.Tensor, size: int) -> tuple[torch.Tensor, Callable[[], None]]:
        """Return the embeddings (n, D) of this rank's `images`, and a function to call after the backward of the loss.

        The function makes the second pass of a batch that is embedded in chunks; otherwise it does nothing. `number`
        counts the steps within the epoch, from 0. `size` is the number of images in the global batch.
        """
        first = shard_slice(size, self.ranks.world_size, self.ranks.rank).start
        step = (self.config.seed, self.epoch, number)

        def embed(rows: slice) -> torch.Tensor:
            self._draws.at(step, size, slice(first + rows.start, first + rows.stop))
            return self._network(images[rows])

        if self.config.batch.chunk_size is not None:
            assert self._parallel_model is not None
            return embed_in_chunks(self._parallel_model, embed, len(images), self.config.batch.chunk_size)
        return embed(slice(0, len(images))), lambda: None

    def _network(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (n, D) of `images` (n, C, H, W), computed in the trial's precision."""
        device = self.ranks.device.type
        assert self._parallel_model is not None
        with torch.autocast(device, self._autocast, enabled=self._autocast is not None):
            embeddings: torch.Tensor = self._parallel_model(images)
        return embeddings.to(self.model.dtype)

    def _measured(self, terms: Terms) -> dict[str, torch.Tensor]:
        measured = {"train/loss": terms.total.detach(), "train/dml_loss": terms.dml_loss}
        if self.config.mdr is not None:
            measured["train/mdr_loss"] = terms.mdr_loss
        if self.objective.miner.can_fall_back:
            measured["train/miner_fallback"] = terms.miner_fallback
        return measured

    def _clip_gradients(self, max_norm: float) -> torch.Tensor:
        """Scale the joint gradient of all parameters down to `max_norm` if it is longer; return the norm it had."""
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        return nn.utils.clip_grad_norm_(parameters, max_norm)

    def evaluate(self, split: SearchSplitName) -> dict[str, float]:
        """Return the metrics on the classes of `split`, named `train/...` or `val/...`, in percent."""
        prefix = {"train": "train", "validation": "val"}[split]
        return {f"{prefix}/{name}": value for name, value in self._metrics_on(split, self.dataset.split(split)).items()}

    def evaluate_test(self, split: ImageSplit) -> dict[str, float]:
        """Return the metrics on the test classes `split`, named `test/...`, in percent. Only for a final evaluation."""
        thresholds = self._validation_thresholds()
        return {f"test/{name}": value for name, value in self._metrics_on("test", split, thresholds).items()}

    def examine_test(self, split: ImageSplit) -> tuple[dict[str, float], TestDetails]:
        """Return the metrics of `evaluate_test` on `split`, and details of each query; pictures on rank 0 only."""
        thresholds = self._validation_thresholds()
        with self._finite():
            readable = self._readable("test", split)
            metrics, details = examine(self.model, readable, self.ranks, *self._evaluation, thresholds)
        return {f"test/{name}": value for name, value in metrics.items()}, details

    def _metrics_on(self, name: SplitName, split: ImageSplit, thresholds: Sequence[float] = ()) -> dict[str, float]:
        with self._finite():
            return evaluate(self.model, self._readable(name, split), self.ranks, *self._evaluation, thresholds)

    def _validation_thresholds(self) -> list[float]:
        """Return the squared distances that `metrics.verification` chooses on the validation classes, one for each FAR.

        The list is empty if there is no verification, or no validation split.
        """
        verification = self.config.metrics.verification
        if verification is None or "validation" not in self.dataset.splits:
            return []
        split = self._readable("validation", self.dataset.split("validation"))
        with self._finite():
            return chosen_thresholds(self.model, split, self.ranks, verification.far, *self._evaluation[1:-1])

    def _readable(self, name: SplitName, split: ImageSplit) -> ImageSplit:
        """Return the split `name` as the model reads it: with features, if they are kept, else as it is."""
        if not self.model.reads_features:
            return split
        return (self._features or self._read_features()).evaluation(split, name)

    @property
    def _evaluation(self) -> tuple[tuple[int, ...], int | None, Callable[[], None], int, MetricsConfig]:
        """Arguments of the function `evaluate` from `recall_ks` to `metrics`.

        On a GPU, a batch is no larger than in training, since a batch of that size is known to fit. On a CPU the
        default size fits; another size would change the last bits of the embeddings.
        """
        batch_size = EVALUATION_BATCH
        if self.ranks.device.type == "cuda":
            batch = self.config.batch
            batch_size = min(batch_size, batch.chunk_size or -(-batch.size // self.ranks.world_size))
        image_size, metrics = self.config.data.chosen_image_size, self.config.metrics
        return self.dataset.recall_ks, image_size, self._count_progress, batch_size, metrics

    @contextlib.contextmanager
    def _finite(self) -> Iterator[None]:
        try:
            yield
        except EmbeddingsNotFinite as error:  # on all ranks: they rank the same embeddings
            raise TrialDiverged(f"an embedding is not finite after epoch {self.epoch}, or too large") from error

    def _count_progress(self) -> None:
        self.progress += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state from which the trial can be resumed.

        It holds tensors and plain values only, so that `torch.load` reads it with `weights_only=True`. The tensors are
        on the CPU, so that a machine without a GPU can load them, too. A frozen backbone is left out if it can be made
        again, see `frozen_backbone`.
        """
        state = {
            "version": CHECKPOINT_VERSION if self._recipe is None else WITHOUT_BACKBONE,
            "config": self.config.model_dump(),
            "image_shape": list(self._image_shape),
            "epoch": self.epoch,
            **state_of(self.model, self._recipe),
            "objective": self.objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "miner_generator": self._miner_generator.get_state(),
        }
        on_cpu: dict[str, Any] = tree_map_only(torch.Tensor, torch.Tensor.cpu, state)
        return on_cpu

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state` that `state_dict` returned. The number of ranks may have been another one.

        Raises:
            ValueError: The state has an unknown version.
            UserError: A frozen backbone that the state does not have cannot be made, or has changed.
            RuntimeError: Shapes differ, because the state is that of another model.
        """
        if state["version"] not in (CHECKPOINT_VERSION, WITHOUT_BACKBONE):
            raise ValueError(f"checkpoint of version {state['version']}; this program reads {CHECKPOINT_VERSION}")
        self._recipe = load_model_state(self.model, state, self._recipe)
        self._features = None  # the next epoch reads those of the loaded weights
        self.objective.load_state_dict(state["objective"])
        load_optimizer_state(self._optimizer, state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._miner_generator.set_state(state["miner_generator"].cpu())
        self.epoch = state["epoch"]


def _means(measured: torch.Tensor) -> torch.Tensor:
    """Return the mean of each of k metrics over the steps, (k,), from their values `measured` (steps, k).

    If a mean is not finite, it is computed without the values that are not finite. For example, a step that was skipped
    because its gradient overflowed has no finite gradient norm.
    """
    means = measured.mean(0)
    finite = measured.masked_fill(~measured.isfinite(), torch.nan)
    return torch.where(means.isfinite(), means, finite.nanmean(0))


def _augmentation(config: TrialConfig) -> Augmentation:
    return config.chosen_augmentation.build(config.data.chosen_image_size)


def _data_parallel(model: nn.Module, ranks: Ranks, skips_parameters: bool) -> nn.Module:
    """Return `model`, wrapped in DDP if there are several `ranks`.

    `skips_parameters` says whether a parameter may get no gradient in a step; DDP then looks for such parameters.
    DDP does not synchronise buffers, since those of BatchNorm are equal on all ranks anyway. Older versions of torch
    have another name for this argument.
    """
    if ranks.world_size == 1:
        return model
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {"process_group": ranks.group, "gradient_as_bucket_view": True, name: False}
    options["find_unused_parameters"] = skips_parameters
    return DistributedDataParallel(model, **options)


def _compile(model: nn.Module) -> None:
    """Compile `model` in place, as if it were the first model that the process compiles.

    Torch compiles a piece of code for a limited number of kinds of arguments, and a model counts as an argument. Beyond
    the limit it runs the code without compiling it, and only its log says so. Here torch first forgets earlier models,
    so that they do not count. If this model alone goes beyond the limit, an error is raised.
    """
    torch.compiler.reset()
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._dynamo.config.suppress_errors = False  # an environment variable may set it; failures to compile shall raise
    model.compile()


def _freeze_batch_norm(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.training = False  # `layer.eval()` would also stop timm's layers inside of it, such as DropBlock
