"""The schedulers that a file may name, and their keys. A scheduler stops, pauses or replaces trials before their end.

To add one, add a class here, and to `SchedulerConfig`. Then build it in `mdr_tune.search.schedulers.make`, and say
what it costs in `mdr_tune.sweep.cost`: the type checker tells where.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mdr_tune.config.strict_model import Named, one_of
from mdr_tune.config.units import SHARE
from mdr_tune.util.words import count


class Scheduler(Named):
    """A scheduler that a file may name.

    Attributes:
        waits: True if trials wait for each other. After an interruption all of an arm's trials go through Tune again.
        takes_over: True if trials go on from the states of others, with other values than they began with.
    """

    waits: ClassVar[bool] = False
    takes_over: ClassVar[bool] = False

    def describe(self) -> str:
        """Return in a few words what the scheduler does with trials before their end."""
        raise NotImplementedError


class NoSchedulerConfig(Scheduler):
    """No scheduler: every trial has all of its epochs."""

    name: Literal["none"]

    def describe(self) -> str:
        """Return that no trial is stopped."""
        return "none is stopped early"


class AshaSchedulerConfig(Scheduler):
    """ASHA (Li et al., MLSys 2020): at each rung, trials that are worse than others that reached it are stopped."""

    name: Literal["asha"] = "asha"
    grace_epochs: int = Field(1, ge=1)
    """Epochs that every trial gets."""
    reduction_factor: int = Field(3, ge=2)
    """At each rung one of this many trials goes on. A rung has this factor times the epochs of the rung before it."""

    def describe(self) -> str:
        """Return the epoch of the first rung, and the share of trials that go on."""
        return f"ASHA after epoch {self.grace_epochs}, 1 of {self.reduction_factor} goes on"


class MedianSchedulerConfig(Scheduler):
    """Median stopping (Golovin et al., KDD 2017).

    A trial is stopped if its best value is below the median of the other trials' means up to that epoch.
    """

    name: Literal["median"]
    grace_epochs: int = Field(1, ge=1)
    """Epochs that every trial gets; the means are taken over the epochs from this one on."""
    min_trials: int = Field(3, ge=1)
    """Number of other trials that must have come as far before a trial is stopped."""

    def describe(self) -> str:
        """Return the epoch after which trials are first compared."""
        return f"median stopping after epoch {self.grace_epochs}"


class HyperBandSchedulerConfig(Scheduler):
    """HyperBand (Li et al., JMLR 2018): trials of a bracket wait at each rung until all are there; the best go on."""

    name: Literal["hyperband"]
    reduction_factor: int = Field(3, ge=2)
    """One of this many trials of a bracket goes on at each rung."""
    waits = True

    def describe(self) -> str:
        """Return the share of trials that go on at each rung."""
        return f"HyperBand, 1 of {self.reduction_factor} goes on"


class PbtSchedulerConfig(Scheduler):
    """Population based training (Jaderberg et al., 2017), synchronous: all trials are the population."""

    name: Literal["pbt"]
    interval_epochs: int = Field(1, ge=1)
    """Epochs between two pauses of all trials. At a pause the worst trials take over the states of the best, with
    perturbed values."""
    quantile: Annotated[float, SHARE] = Field(0.25, gt=0, le=0.5)
    """Share of the population that is replaced at a pause. As many of the best trials give their states."""
    perturb: list[Literal["mdr.weight", "optimizer.learning_rate"]] = ["mdr.weight", "optimizer.learning_rate"]
    """Keys that are perturbed. A value is multiplied by 0.8 or 1.2. If its key is searched, the value may be drawn anew
    instead, and stays within its range; a value of a choice is replaced by the next smaller or larger one."""
    resample: Annotated[float, SHARE] = Field(0.25, ge=0, le=1)
    """Probability that the value of a searched key is drawn anew instead of multiplied."""
    waits = True
    takes_over = True

    @model_validator(mode="after")
    def _something_to_perturb(self) -> "PbtSchedulerConfig":
        if not self.perturb or len(set(self.perturb)) < len(self.perturb):
            raise ValueError("perturb: name mdr.weight, optimizer.learning_rate or both, each once")
        return self

    def describe(self) -> str:
        """Return the keys that are perturbed, and how often."""
        return f"population based training of {' and '.join(self.perturb)} every {count(self.interval_epochs, 'epoch')}"


if TYPE_CHECKING:  # a union: mypy then reports code that forgets a member
    SchedulerConfig = (
        NoSchedulerConfig | AshaSchedulerConfig | MedianSchedulerConfig | HyperBandSchedulerConfig | PbtSchedulerConfig
    )
else:
    SchedulerConfig = one_of(Scheduler, default="asha")
