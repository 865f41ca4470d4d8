"""Which trials are stopped early, put aside or taken over: the schedulers that a file may name, and their keys.

To add one, add a class here, and to `SchedulerConfig`; then `mdr_tune.search.schedulers.build` has to make it, and
`mdr_tune.sweep.cost` to say what it costs: the type checker tells where.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mdr_tune.config.base import Named, one_of
from mdr_tune.config.units import SHARE
from mdr_tune.util.words import count


class Scheduler(Named):
    """A scheduler that a file may name.

    Attributes:
        waits: whether trials wait for each other. After an interruption all of an arm's trials go through Tune again.
        takes_over: whether trials go on from the states of others, with other values than they began with.
    """

    waits: ClassVar[bool] = False
    takes_over: ClassVar[bool] = False

    def describe(self) -> str:
        """Return in a few words what becomes of trials before their end."""
        raise NotImplementedError


class NoSchedulerConfig(Scheduler):
    """Every trial has all of its epochs."""

    name: Literal["none"]

    def describe(self) -> str:
        """Return that nothing does."""
        return "none is stopped early"


class AshaSchedulerConfig(Scheduler):
    """ASHA (Li et al., MLSys 2020): at each rung the worse trials of those that came so far are stopped."""

    name: Literal["asha"] = "asha"
    grace_epochs: int = Field(1, ge=1)
    """Epochs that every trial gets."""
    reduction_factor: int = Field(3, ge=2)
    """One of this many trials goes on at each rung."""

    def describe(self) -> str:
        """Return when trials are first compared, and how many go on."""
        return f"ASHA after epoch {self.grace_epochs}, 1 of {self.reduction_factor} goes on"


class MedianSchedulerConfig(Scheduler):
    """Median stopping (Golovin et al., KDD 2017): a trial ends whose best is below the median of the others' means."""

    name: Literal["median"]
    grace_epochs: int = Field(1, ge=1)
    """Epochs that every trial gets; the means are taken from there on."""
    min_trials: int = Field(3, ge=1)
    """Other trials that must have come as far before one is stopped."""

    def describe(self) -> str:
        """Return when trials are first compared."""
        return f"median stopping after epoch {self.grace_epochs}"


class HyperBandSchedulerConfig(Scheduler):
    """HyperBand (Li et al., JMLR 2018): trials of a bracket pause at each rung until all are there; the best go on."""

    name: Literal["hyperband"]
    reduction_factor: int = Field(3, ge=2)
    """One of this many trials of a bracket goes on at each rung."""
    waits = True

    def describe(self) -> str:
        """Return how many go on."""
        return f"HyperBand, 1 of {self.reduction_factor} goes on"


class PbtSchedulerConfig(Scheduler):
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
    waits = True
    takes_over = True

    @model_validator(mode="after")
    def _something_to_perturb(self) -> "PbtSchedulerConfig":
        if not self.perturb or len(set(self.perturb)) < len(self.perturb):
            raise ValueError("perturb: name mdr.weight, optimizer.learning_rate or both, each once")
        return self

    def describe(self) -> str:
        """Return what is perturbed, and how often."""
        return f"population based training of {' and '.join(self.perturb)} every {count(self.interval_epochs, 'epoch')}"


if TYPE_CHECKING:  # each by itself: chains that forget one are told
    SchedulerConfig = (
        NoSchedulerConfig | AshaSchedulerConfig | MedianSchedulerConfig | HyperBandSchedulerConfig | PbtSchedulerConfig
    )
else:
    SchedulerConfig = one_of(Scheduler, default="asha")
