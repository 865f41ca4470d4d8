"""The configuration of a trial. It determines the results: two runs with equal `TrialConfig`s give equal numbers."""

import math
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator

from mdr_tune.backbones.families import IDENTITY, check_takes, family_of
from mdr_tune.config.augmentations import AugmentationConfig, AutoAugmentationConfig, chosen_augmentation
from mdr_tune.config.chosen_metrics import NO_OTHERS, MetricsConfig
from mdr_tune.config.datasets import DataConfig, GlyphsDataConfig, local_path
from mdr_tune.config.explain import lines_of
from mdr_tune.config.heads import EmbeddingConfig
from mdr_tune.config.losses import LossConfig, TripletLossConfig
from mdr_tune.config.miners import AutoMinerConfig, Miner, MinerConfig
from mdr_tune.config.optimizers import OptimizerConfig
from mdr_tune.config.strict_model import (
    KeyProblem,
    OpenModel,
    StrictModel,
    UnknownArguments,
    added,
    by_name,
    flatten,
    tag,
)
from mdr_tune.config.units import DEVIATIONS, EPOCHS
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import is_import_path


def _known_backbone(name: str) -> str:
    family_of(name)
    return name


class BatchConfig(StrictModel):
    """The global batch, which all workers of a trial share."""

    size: int = Field(128, ge=4)
    """Number of images in the global batch. It does not depend on the number of workers."""
    images_per_class: int = Field(4, ge=2)
    chunk_size: int | None = Field(None, ge=1)
    """Number of images that a worker embeds at once, so that a large batch fits its memory. Each image is then embedded
    twice. The gradients are those of the whole batch. null: a worker embeds all of its images at once."""

    @model_validator(mode="after")
    def _two_classes(self) -> "BatchConfig":
        if self.size < 2 * self.images_per_class:
            raise ValueError(
                f"size {self.size} holds fewer than two classes of {self.images_per_class} images: "
                f"raise size to {2 * self.images_per_class} or lower images_per_class"
            )
        return self


def _absolute_if_a_path(weights: str) -> str:
    """Return `weights` as an absolute path if it is a path; return the name of published weights unchanged.

    Workers have another working directory than the user. Names of published weights have no dot and no slash.
    """
    return local_path(weights) if {"/", "."} & set(weights) else weights


class LastBlocks(StrictModel):
    """The last blocks of a network, which are trained while the blocks before them are frozen."""

    last_blocks: int = Field(ge=1)
    """Number of trained blocks. A block is, for example, a residual block of a ResNet or a layer of a transformer."""


class BackboneConfig(OpenModel):
    """The network in front of the embedding layer, the weights that it starts from, and the network's arguments."""

    name: Annotated[str, AfterValidator(_known_backbone)] = "conv4"
    """Name of the network: conv4, bn_inception, googlenet, resnet18, resnet50, another classifier of torchvision, a
    model of timm, such as timm.vit_small_patch16_224, with the tag of its weights or without, or an import path of your
    own, such as my_models:make_encoder."""
    weights: Annotated[str, AfterValidator(_absolute_if_a_path)] = "DEFAULT"
    """Initial weights. `DEFAULT`: published weights, or random ones for conv4, which has none; `none`: random weights;
    `symbols`: those of conv4 in this package, trained on symbols, not on letters; else a name of torchvision's weights,
    such as IMAGENET1K_V1, or the path of a file with a state dict. The weights of a model of timm are those of its tag.
    With an import path, `DEFAULT` and `none` leave the weights as your code makes them."""
    train: Annotated[
        Annotated[Literal["all", "none"], Tag(tag("name"))] | Annotated[LastBlocks, Tag(tag("blocks"))],
        Discriminator(lambda value: tag("blocks" if isinstance(value, dict | LastBlocks) else "name")),
    ] = added("all")
    """Part of the network that is trained: `all`, `none`, or {last_blocks: N}. The rest is frozen: its weights and the
    statistics of its BatchNorm stay as they are, and it drops nothing at random."""
    views: int | None = added(None, ge=1)
    """With `train: none`: number of augmented views of each training image. The features of all views are computed once
    and kept, beside the cache of images, so that a trial takes seconds. null: the augmentation changes each image anew
    in each step, and nothing is kept unless `augmentation` is `none`."""
    frozen_epochs: Annotated[int, EPOCHS] = added(0, ge=0)
    """Number of epochs, from the first, in which the whole network is frozen: the head and the loss train alone."""

    @model_validator(mode="after")
    def _views_of_a_frozen_network(self) -> "BackboneConfig":
        if self.views is not None and self.train != "none":
            raise KeyProblem("views", "are of a frozen network: write train: none beside it, or leave it out")
        return self

    @model_validator(mode="after")
    def _known_arguments(self) -> "BackboneConfig":
        if self.arguments or is_import_path(self.name):
            family, known = family_of(self.name), self.known_arguments()
            unknown = [key for key in self.arguments if key not in known]
            if unknown and not family.takes_any(self.name):
                raise UnknownArguments(unknown, known)
            try:
                family.check_arguments(self.name, self.arguments)
            except ValueError as error:
                key, _, problem = str(error).partition(": ")
                raise KeyProblem(key, problem) from None
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the network: the keys of the section that are no fields of this class."""
        return dict(self.model_extra or {})

    def known_arguments(self) -> list[str]:
        """Return the names of the network's arguments that a sweep file may give."""
        return list(family_of(self.name).arguments(self.name))

    @property
    def pretrained(self) -> bool:
        """True if the network starts from trained weights."""
        return family_of(self.name).is_trained(self.name, self.weights, self.arguments)

    @property
    def takes_published_weights(self) -> bool:
        """True if the network starts from weights that its family publishes, which may have to be downloaded."""
        is_named = self.weights != "none" and not os.path.isabs(self.weights)
        return is_named and family_of(self.name).has_published_weights

    def trains_in(self, epochs: int) -> bool:
        """Return whether a trial of `epochs` epochs trains the network, or a part of it, in any of them."""
        return self.train != "none" and self.frozen_epochs < epochs

    def in_force(self, epochs: int) -> dict[str, Any]:
        """Return the values that affect a trial of `epochs` epochs. Equal values train in the same way."""
        frozen = {} if self.trains_in(epochs) else {"train": "none", "frozen_epochs": 0}
        return {**self.model_dump(), "weights": self.weights if self.pretrained else "none", **frozen}


class LevelGrid(StrictModel):
    """Evenly spaced levels of MDR: `count` levels from offset - spread to offset + spread."""

    count: int = Field(3, ge=1, le=64)
    spread: Annotated[float, DEVIATIONS] = Field(3.0, ge=0)
    offset: Annotated[float, DEVIATIONS] = 0.0

    def values(self) -> list[float]:
        """Return the levels in ascending order, in standard deviations of the batch's distances."""
        if self.count == 1:
            return [self.offset]
        step = 2 * self.spread / (self.count - 1)
        return [self.offset - self.spread + i * step for i in range(self.count)]


class MDRConfig(StrictModel):
    """Multi-level Distance Regularization (Kim & Park, AAAI 2021). With `mdr: null` a trial trains without it."""

    weight: float = Field(0.1, ge=0)
    """Weight of MDR in the loss, the paper's lambda. The authors use 0.6 (CUB-200), 0.2 (Cars-196), 0.1 (SOP, In-Shop).
    """
    warmup_epochs: Annotated[float, EPOCHS] = Field(0.0, ge=0)
    """Number of epochs, possibly a fraction, over which the weight rises linearly from 0. The authors' code has no
    warm-up."""
    levels: Annotated[
        Annotated[list[float], Field(min_length=1, max_length=64), Tag(tag("list"))]
        | Annotated[LevelGrid, Tag(tag("grid"))],
        Discriminator(lambda value: tag("grid" if isinstance(value, dict | LevelGrid) else "list")),
        DEVIATIONS,
    ] = [-3.0, 0.0, 3.0]
    """Initial levels, in standard deviations of the batch's distances: a list, or a grid {count, spread, offset}."""
    learn_levels: bool = True
    """true: the levels are trained; false: they keep their initial values."""
    level_decay: float = Field(0.01, ge=0)
    """Weight of the sum of squared levels in the loss, the paper's nu. It has no effect if `learn_levels` is false."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of the moving averages of the mean and the standard deviation of the distances."""
    statistics: Literal["official", "offdiagonal"] = "official"
    """Entries of the batch's distance matrix that the mean and the standard deviation are computed from. `official`:
    all entries, including the zeros of the diagonal; `offdiagonal`: all entries except the diagonal."""

    def initial_levels(self) -> list[float]:
        """Return the initial levels as a list, even if they were written as a grid."""
        return self.levels.values() if isinstance(self.levels, LevelGrid) else list(self.levels)

    def in_force(self, clips_gradients: bool) -> dict[str, Any]:
        """Return the values that affect the training. Configurations with equal values train in the same way.

        The levels are sorted, since their order has no effect. With weight 0 no other value has an effect, unless
        gradients are clipped by their common norm (`clips_gradients`), which includes the levels' gradient.
        """
        if self.weight == 0 and not clips_gradients:
            return {"weight": 0.0}
        kept = self.model_dump(exclude=set() if self.learn_levels else {"level_decay"})
        return {**kept, "levels": sorted(level + 0.0 for level in self.initial_levels())}  # + 0.0: -0.0 is 0.0


class MemoryConfig(StrictModel):
    """Cross-batch memory (XBM, Wang et al., CVPR 2020): each batch is also compared with embeddings of earlier steps.

    With `memory: null`, the default, a trial trains without it.
    """

    size: int = Field(1024, ge=1)
    """Greatest number of embeddings in the memory, those of the batch included. The oldest are dropped first. There is
    one memory for all workers."""
    start_epoch: Annotated[float, EPOCHS] = Field(1.0, ge=0)
    """Number of epochs, possibly a fraction, that are trained before the memory is filled and used. At first embeddings
    change too fast for it: the authors' code trains 1,000 or 2,000 steps without it."""
    batch_loss: bool = True
    """true: the loss is that of the batch plus that of the batch compared with the memory, as in the authors' code.
    false: the first of the two is left out, as in figure 2 of their paper and in pytorch-metric-learning."""
    weight: float = Field(1.0, gt=0)
    """Weight of the loss of the batch compared with the memory."""
    mdr: Literal["batch", "both"] = "batch"
    """Distances that MDR regularizes. `batch`: those within the batch, as in the MDR paper; `both`: also those of the
    batch to the memory."""

    def added(self, epochs: int, iterations_per_epoch: int, batch_size: int) -> int:
        """Return the number of embeddings that a trial adds, all epochs together; it may be one batch too many."""
        steps = epochs * iterations_per_epoch - math.floor(self.start_epoch * iterations_per_epoch)
        return max(steps + 1, 1) * batch_size

    def in_force(self, epochs: int, uses_mdr: bool) -> dict[str, Any] | None:
        """Return the values that affect the training. Configurations with equal values train in the same way.

        Return None if a trial of `epochs` epochs never uses the memory. `uses_mdr` says if the trial has MDR.
        """
        if self.start_epoch >= epochs:
            return None
        return self.model_dump(exclude=set() if uses_mdr else {"mdr"})


class TrialConfig(StrictModel):
    """One training run: data, model, loss, MDR, optimisation, seed."""

    data: DataConfig = GlyphsDataConfig()
    augmentation: AugmentationConfig = AutoAugmentationConfig()
    batch: BatchConfig = BatchConfig()
    backbone: Annotated[BackboneConfig, BeforeValidator(by_name)] = BackboneConfig()
    batch_norm: Literal["auto", "frozen", "synced"] = "auto"
    """Mode of the backbone's BatchNorm in training. `frozen`: eval mode, as in the code of MDR's authors; `synced`:
    statistics of the global batch, over all workers; `auto`: `frozen` for a backbone with trained weights, otherwise
    `synced`. The BatchNorm of frozen blocks is frozen in any case."""
    embedding: EmbeddingConfig = EmbeddingConfig()
    loss: LossConfig = TripletLossConfig()
    miner: MinerConfig = AutoMinerConfig()
    mdr: MDRConfig | None = MDRConfig()
    memory: MemoryConfig | None = added(None)
    optimizer: Annotated[OptimizerConfig, BeforeValidator(by_name)] = OptimizerConfig()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the network in training. Distances, losses and evaluation are always float32. On a GPU, convolutions
    with `fp32` use TF32, torch's default: factors are rounded to a mantissa of 10 bits, and sums are float32."""
    channels_last: bool = True
    """true: images and the weights of convolutions are stored in memory with the channels last."""
    compile: bool = False
    """true: the network is compiled by torch.compile; the first step then takes a minute or more."""
    epochs: Annotated[int, EPOCHS] = Field(8, ge=1)
    iterations_per_epoch: int = Field(100, ge=1)
    protocol: Literal["validation", "paper"] = "validation"
    """Classes on which the best epoch is chosen. `validation`: classes that are held out of the training classes;
    `paper`: the test classes, as in the code of MDR's authors; the trial then trains on all training classes."""
    curves: list[Literal["train", "test"]] = []
    """Classes that are evaluated after each epoch for learning curves, besides the validation classes. No epoch or
    trial is chosen by these values, except with `protocol: paper`, which always evaluates the test classes."""
    metrics: MetricsConfig = added(NO_OTHERS)
    seed: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _no_network_for_vectors(cls, keys: Any) -> Any:
        if isinstance(keys, dict) and "backbone" not in keys:
            data = by_name(keys.get("data"))
            if isinstance(data, dict) and data.get("name") == "features":
                return {**keys, "backbone": {"name": IDENTITY}}
        return keys

    @model_validator(mode="after")
    def _fits_together(self) -> "TrialConfig":
        self._try_own_network()
        self._check_vectors()
        self._check_chunks()
        loss = self.loss
        if loss.compares_directions and self.embedding.mode in ("rescale", "none"):
            raise KeyProblem(
                "embedding.mode",
                f"{self.embedding.mode} makes no sense with {loss.name}, which compares directions only: nothing would "
                "train the lengths that retrieval then compares. Use l2, or auto",
            )
        problem = loss.problem_with(self.embedding_mode)
        if problem:
            key, _, message = problem.partition(": ")
            raise KeyProblem(f"loss.{key}", message)
        if self.miner.name not in ("auto", "all") and not loss.takes_mined:
            raise KeyProblem(
                "miner.name", f"{loss.name} takes no mined pairs, so that {self.miner.name} would do nothing: use auto"
            )
        if self.memory is not None:
            self._check_memory(self.memory)
        frozen = {"train": self.backbone.train == "none", "frozen_epochs": self.backbone.frozen_epochs > 0}
        for key in (key for key, is_frozen in frozen.items() if is_frozen and not self.embedding.has_parameters):
            raise KeyProblem(
                f"backbone.{key}",
                "nothing of the model would be trained beside it, since embedding.head is identity: write linear, or "
                "{hidden: [1024]}, there",
            )
        return self

    def _check_vectors(self) -> None:
        """Raise KeyProblem if the data set has vectors, but network or augmentation take images, or the reverse."""
        data = self.data
        if not data.holds_images and self.backbone.name != IDENTITY:
            raise KeyProblem(
                "backbone.name",
                f"{self.backbone.name} takes images, and the data set {data.name} has vectors: leave backbone out, or "
                f"write {IDENTITY}",
            )
        if data.holds_images and self.backbone.name == IDENTITY:
            raise KeyProblem(
                "backbone.name", f"{IDENTITY} takes the vectors of data: features, and {data.name} has images"
            )
        if not data.holds_images and self.augmentation.name not in ("auto", "none"):
            raise KeyProblem(
                "augmentation.name", f"{self.augmentation.name} changes images, and {data.name} has vectors: use none"
            )

    def _check_chunks(self) -> None:
        """Raise KeyProblem if batches are embedded in chunks, and a BatchNorm layer needs the whole batch."""
        if self.batch.chunk_size is not None and not self.freezes_batch_norm:
            raise KeyProblem(
                "batch.chunk_size",
                "needs batch_norm: frozen, since the statistics of a chunk are not those of the batch",
            )
        if self.batch.chunk_size is not None and self.embedding.has_batch_norm:
            raise KeyProblem(
                "batch.chunk_size",
                "does not go with norm: batch of embedding.head, since the statistics of a chunk are not those of the "
                "batch: write norm: layer there",
            )

    def _check_memory(self, memory: MemoryConfig) -> None:
        if memory.size < self.batch.size:
            raise KeyProblem(
                "memory.size",
                f"{memory.size} does not hold a batch of {self.batch.size} images: write {self.batch.size} or more",
            )
        if problem := self.loss.problem_with_memory():
            key, _, message = problem.partition(": ")
            raise KeyProblem(key, message)
        if is_import_path(self.miner.name):
            raise KeyProblem(
                "memory", f"the miner {self.miner.name} chooses within a batch: write null, or miner: auto"
            )

    def _try_own_network(self) -> None:
        """Raise KeyProblem if the user's own network, when tried, does not take the images or gives no features."""
        backbone = self.backbone
        if is_import_path(backbone.name):
            try:
                check_takes(backbone.name, backbone.weights, self.data.input_shape, backbone.arguments)
            except ValueError as error:
                raise KeyProblem("backbone.name", str(error)) from None
            shape, has_head = self.data.input_shape, self.embedding.has_parameters
            if backbone.train != "none" and (
                problem := family_of(backbone.name).why_untrainable(backbone.name, shape, backbone.arguments, has_head)
            ):
                raise KeyProblem("backbone.name", problem)

    @property
    def embedding_mode(self) -> Literal["rescale", "l2", "none"]:
        """The embedding mode that is used. `auto` is replaced by the mode that suits the loss."""
        if self.embedding.mode == "auto":
            return "l2" if self.loss.compares_directions else "rescale"
        return self.embedding.mode

    @property
    def measured_curves(self) -> tuple[Literal["train", "test"], ...]:
        """Classes that are evaluated after each epoch in addition to the validation classes."""
        wanted = {*self.curves, *(["test"] if self.protocol == "paper" else [])}
        return tuple(split for split in ("train", "test") if split in wanted)

    @property
    def freezes_batch_norm(self) -> bool:
        """True if the backbone's BatchNorm stays in eval mode.

        It does with `frozen`, if the backbone is not trained, and, with `auto`, if the backbone has trained weights.
        """
        is_frozen = self.batch_norm == "frozen" or self.backbone.train == "none"
        return is_frozen or (self.batch_norm == "auto" and self.backbone.pretrained)

    @property
    def keeps_features(self) -> bool:
        """True if the backbone's features are computed once and kept: it is frozen, and its input does not change."""
        fixed = self.backbone.views is not None or self.chosen_augmentation.name == "none"
        return (
            fixed and self.backbone.train == "none" and self.backbone.name != IDENTITY and self.embedding.pool != "gem"
        )

    @property
    def chosen_miner(self) -> Miner:
        """The miner that is used. `auto` is replaced by the miner that suits the loss."""
        return self.miner.chosen(self.loss.best_miner) if isinstance(self.miner, AutoMinerConfig) else self.miner

    @property
    def chosen_augmentation(self) -> AugmentationConfig:
        """The augmentation that is used. `auto` is replaced by the augmentation that suits the data."""
        return chosen_augmentation(self.augmentation, self.data.best_augmentation, self.data.chosen_interpolation)

    @classmethod
    def from_keys(cls, keys: Mapping[str, Any]) -> "TrialConfig":
        """Return the trial with these `keys` of a sweep file's section `trial`. All other keys have their defaults.

        Raise UserError if a key is unknown or its value is not valid. The message has a line for each problem.
        """
        try:
            return cls.model_validate(_as_in_a_file(keys))
        except ValidationError as error:
            raise UserError("\n".join(lines_of(error, cls))) from None

    def flat(self) -> dict[str, Any]:
        """Return all values by dotted key, as MLflow records them. Each `auto` is replaced by the value in use."""
        tree = self.model_dump()
        if self.mdr is not None:
            tree["mdr"]["levels"] = self.mdr.initial_levels()
        if self.data.chosen_resize is not None:
            tree["data"] |= {"resize": self.data.chosen_resize, "image_size": self.data.chosen_image_size}
        tree["embedding"]["mode"] = self.embedding_mode
        tree["miner"] = self.chosen_miner.model_dump()
        tree["augmentation"] = self.chosen_augmentation.model_dump()
        tree["batch_norm"] = "frozen" if self.freezes_batch_norm else "synced"
        if not self.backbone.pretrained:
            tree["backbone"]["weights"] = "none"
        return flatten(tree)


def _as_in_a_file(value: Any) -> Any:
    """Convert `value` from a Python program to the types that YAML gives: dict, list, str and Python's numbers."""
    if isinstance(value, Mapping):
        return {key: _as_in_a_file(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_in_a_file(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
