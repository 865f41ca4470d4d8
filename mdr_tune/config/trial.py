"""Everything one training run is determined by. Two runs of an equal `TrialConfig` give equal numbers."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from mdr_tune.catalog import BACKBONES, DATASETS
from mdr_tune.config.base import StrictModel, flatten


def _known_data(name: str) -> str:
    if name not in DATASETS:
        raise ValueError(DATASETS.unknown_message(name))
    return name


def _known_backbone(name: str) -> str:
    if name not in BACKBONES:
        raise ValueError(BACKBONES.unknown_message(name))
    return name


class DataConfig(StrictModel):
    """Which images, and which split of their classes."""

    name: Annotated[str, AfterValidator(_known_data)] = "glyphs"


class BatchConfig(StrictModel):
    """The global batch, over all workers of a trial."""

    size: int = Field(128, ge=4)
    """Images in the global batch. Does not depend on the number of workers."""
    images_per_class: int = Field(4, ge=2)

    @model_validator(mode="after")
    def _two_classes(self) -> "BatchConfig":
        if self.size < 2 * self.images_per_class:
            raise ValueError(
                f"size {self.size} holds fewer than two classes of {self.images_per_class} images: "
                f"raise size to {2 * self.images_per_class} or lower images_per_class"
            )
        return self


class EmbeddingConfig(StrictModel):
    """The embedding layer behind the backbone."""

    size: int = Field(128, ge=1)
    mode: Literal["rescale", "l2", "none"] = "rescale"
    """`rescale`: divided by the batch's mean distance in training (MDR's way); `l2`: unit sphere; `none`."""


class LossConfig(StrictModel):
    """The metric-learning loss that MDR regularises."""

    name: Literal["triplet"] = "triplet"
    margin: float = Field(0.2, ge=0)


class MinerConfig(StrictModel):
    """How triplets are chosen in a batch."""

    name: Literal["distance_weighted"] = "distance_weighted"
    weights: Literal["official", "stable"] = "official"
    """`official`: as the authors' code, most anchors fall back to uniform in float32; `stable`: no underflow."""


class LevelGrid(StrictModel):
    """Evenly spaced levels: `count` of them over [offset - spread, offset + spread]."""

    count: int = Field(3, ge=1, le=64)
    spread: float = Field(3.0, ge=0)
    offset: float = 0.0

    def values(self) -> list[float]:
        """Return the levels, ascending, in standard deviations of the batch's distances."""
        if self.count == 1:
            return [self.offset]
        step = 2 * self.spread / (self.count - 1)
        return [self.offset - self.spread + i * step for i in range(self.count)]


class MDRConfig(StrictModel):
    """Multi-level Distance Regularization (Kim & Park, AAAI 2021). `mdr: null` trains without."""

    weight: float = Field(0.1, ge=0)
    """lambda. The authors: 0.6 for CUB-200, 0.2 for Cars-196, 0.1 for SOP and In-Shop."""
    levels: Annotated[
        Annotated[list[float], Field(min_length=1, max_length=64), Tag("list")] | Annotated[LevelGrid, Tag("grid")],
        Discriminator(lambda value: "grid" if isinstance(value, dict | LevelGrid) else "list"),
    ] = [-3.0, 0.0, 3.0]
    """Initial levels, in standard deviations: a list, or {count, spread, offset}."""
    level_decay: float = Field(0.01, ge=0)
    """nu: weight of the sum of squared levels."""
    momentum: float = Field(0.9, ge=0, lt=1)
    statistics: Literal["official", "offdiagonal"] = "official"
    """Mean and deviation over the whole matrix, zeros of the diagonal included (`official`), or without them."""

    def initial_levels(self) -> list[float]:
        """Return the levels as a list, whichever way they were written."""
        return self.levels.values() if isinstance(self.levels, LevelGrid) else list(self.levels)


class OptimizerConfig(StrictModel):
    """Adam on everything, the levels too, as the authors do."""

    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    milestones: list[Annotated[int, Field(ge=1)]] = []
    """Epochs after which the learning rate is multiplied by `gamma`. The authors: 40, 60, 80 of 100."""
    gamma: float = Field(0.2, gt=0, le=1)


class TrialConfig(StrictModel):
    """One training run: data, model, loss, MDR, optimisation, seed."""

    data: DataConfig = DataConfig()
    batch: BatchConfig = BatchConfig()
    backbone: Annotated[str, AfterValidator(_known_backbone)] = "conv4"
    freeze_batch_norm: bool = False
    """Keep BatchNorm in eval mode while training, as the authors do with pretrained weights."""
    embedding: EmbeddingConfig = EmbeddingConfig()
    loss: LossConfig = LossConfig()
    miner: MinerConfig = MinerConfig()
    mdr: MDRConfig | None = MDRConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    epochs: int = Field(8, ge=1)
    iterations_per_epoch: int = Field(100, ge=1)
    seed: int = Field(0, ge=0)

    def flat(self) -> dict[str, Any]:
        """Return the configuration with dotted keys, levels written out as a list: what MLflow records."""
        tree = self.model_dump()
        if self.mdr is not None:
            tree["mdr"]["levels"] = self.mdr.initial_levels()
        return flatten(tree)
