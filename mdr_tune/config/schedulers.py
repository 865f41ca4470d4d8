"""Which trials are stopped early, put aside or taken over: the schedulers of a search, found by name."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from mdr_tune.config.base import StrictModel, by_name, choose_by_name, tag
from mdr_tune.config.units import SHARE


class NoSchedulerConfig(StrictModel):
    """Every trial has all of its epochs."""

    name: Literal["none"]


class AshaSchedulerConfig(StrictModel):
    """ASHA (Li et al., MLSys 2020): at each rung the worse trials of those that came so far are stopped."""

    name: Literal["asha"] = "asha"
    grace_epochs: int = Field(1, ge=1)
    """Epochs that every trial gets."""
    reduction_factor: int = Field(3, ge=2)
    """One of this many trials goes on at each rung."""


class MedianSchedulerConfig(StrictModel):
    """Median stopping (Golovin et al., KDD 2017): a trial ends whose best is below the median of the others' means."""

    name: Literal["median"]
    grace_epochs: int = Field(1, ge=1)
    """Epochs that every trial gets; the means are taken from there on."""
    min_trials: int = Field(3, ge=1)
    """Other trials that must have come as far before one is stopped."""


class HyperBandSchedulerConfig(StrictModel):
    """HyperBand (Li et al., JMLR 2018): trials of a bracket pause at each rung until all are there; the best go on."""

    name: Literal["hyperband"]
    reduction_factor: int = Field(3, ge=2)
    """One of this many trials of a bracket goes on at each rung."""


class PbtSchedulerConfig(StrictModel):
    """Population based training (Jaderberg et al., 2017), synchronous: all trials are the population."""

    name: Literal["pbt"]
    interval_epochs: int = Field(1, ge=1)
    """All trials pause after so many epochs; then the worst take over the best's state and perturb it."""
    quantile: Annotated[float, SHARE] = Field(0.25, gt=0, le=0.5)
    """The share of the population that is replaced, and by whose states."""
    perturb: list[Literal["mdr.weight", "optimizer.learning_rate"]] = ["mdr.weight", "optimizer.learning_rate"]
    """What is perturbed: multiplied by 0.8 or 1.2, or drawn anew from the space where it is searched. A perturbed
    value stays within the range that the space gives."""
    resample: Annotated[float, SHARE] = Field(0.25, ge=0, le=1)
    """Probability that a value which is searched is drawn anew instead of multiplied."""

    @model_validator(mode="after")
    def _something_to_perturb(self) -> "PbtSchedulerConfig":
        if not self.perturb or len(set(self.perturb)) < len(self.perturb):
            raise ValueError("perturb: name mdr.weight, optimizer.learning_rate or both, each once")
        return self


SchedulerConfig = Annotated[
    Annotated[NoSchedulerConfig, Tag(tag("none"))]
    | Annotated[AshaSchedulerConfig, Tag(tag("asha"))]
    | Annotated[MedianSchedulerConfig, Tag(tag("median"))]
    | Annotated[HyperBandSchedulerConfig, Tag(tag("hyperband"))]
    | Annotated[PbtSchedulerConfig, Tag(tag("pbt"))],
    Discriminator(choose_by_name("asha")),
    BeforeValidator(by_name),
]
