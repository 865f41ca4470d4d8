"""The schedulers that a sweep file may name. A scheduler stops, pauses or replaces trials before their end.

To add a scheduler, add a class here, and add it to `SchedulerConfig`. Then build it in
`mdr_tune.search.schedulers.make`, and give its cost in `mdr_tune.sweep.cost`. The type checker reports both places.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mdr_tune.config.strict_model import Named, one_of
from mdr_tune.config.units import SHARE
from mdr_tune.util.words import count


class Scheduler(Named):
    """A scheduler that a sweep file may name.

    Attributes:
        waits: True if trials wait for each other. After an interruption, all trials of an arm then pass through Ray
            Tune again, including those that had ended.
        takes_over: True if a trial may go on from the state of another trial, with other values than it began with.
    """

    waits: ClassVar[bool] = False
    takes_over: ClassVar[bool] = False

    def describe(self) -> str:
        """Return a short text for the user: what the scheduler does with trials before their end."""
        raise NotImplementedError


class NoSchedulerConfig(Scheduler):
    """No scheduler: every trial is trained for all of its epochs."""

    name: Literal["none"]

    def describe(self) -> str:
        """Return a text that says that no trial is stopped early."""
        return "none is stopped early"


class AshaSchedulerConfig(Scheduler):
    """ASHA (Li et al., MLSys 2020).

    A rung is an epoch at which trials are compared. A trial is stopped at a rung unless it is among the best of the
    trials that have reached the rung.
    """

    name: Literal["asha"] = "asha"
    grace_epochs: int = Field(1, ge=1)
    """Number of epochs that every trial is trained for."""
    reduction_factor: int = Field(3, ge=2)
    """One of this many trials goes on at each rung. The epoch of a rung is this factor times the epoch of the rung
    before."""

    def describe(self) -> str:
        """Return the scheduler's name, the epoch of the first rung, and the share of trials that go on at a rung."""
        return f"ASHA after epoch {self.grace_epochs}, 1 of {self.reduction_factor} goes on"


class MedianSchedulerConfig(Scheduler):
    """Median stopping (Golovin et al., KDD 2017).

    At an epoch, the mean of each other trial's values up to that epoch is computed. The trial is stopped if its best
    value is below the median of these means.
    """

    name: Literal["median"]
    grace_epochs: int = Field(1, ge=1)
    """Number of epochs that every trial is trained for. The means are taken over the epochs from this one on."""
    min_trials: int = Field(3, ge=1)
    """Number of other trials that must have reached an epoch before a trial is stopped at it."""

    def describe(self) -> str:
        """Return the scheduler's name, and the epoch after which trials are first compared."""
        return f"median stopping after epoch {self.grace_epochs}"


class HyperBandSchedulerConfig(Scheduler):
    """HyperBand (Li et al., JMLR 2018).

    The trials are divided into brackets. At each rung, the trials of a bracket wait until all of them have reached the
    rung. Then the best of them go on.
    """

    name: Literal["hyperband"]
    reduction_factor: int = Field(3, ge=2)
    """One of this many trials of a bracket goes on at each rung."""
    waits = True

    def describe(self) -> str:
        """Return the scheduler's name, and the share of trials that go on at each rung."""
        return f"HyperBand, 1 of {self.reduction_factor} goes on"


class PbtSchedulerConfig(Scheduler):
    """Population based training (Jaderberg et al., 2017).

    All trials of an arm are one population. They pause at the same epochs.
    """

    name: Literal["pbt"]
    interval_epochs: int = Field(1, ge=1)
    """Number of epochs between two pauses of all trials. At a pause, the worst trials go on from the states of the best
    trials, with perturbed values."""
    quantile: Annotated[float, SHARE] = Field(0.25, gt=0, le=0.5)
    """Share of the population that is replaced at a pause. The states come from an equal share of the population, the
    best trials."""
    perturb: list[Literal["mdr.weight", "optimizer.learning_rate"]] = ["mdr.weight", "optimizer.learning_rate"]
    """Keys whose values are perturbed. A value is multiplied by 0.8 or 1.2. If the key is searched in a range, the
    result stays within the range. If it is searched in a choice, the value is replaced by the next smaller or larger
    value of the choice. The value of a searched key may also be drawn anew (see `resample`)."""
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
        """Return the keys that are perturbed, and the number of epochs between two pauses."""
        return f"population based training of {' and '.join(self.perturb)} every {count(self.interval_epochs, 'epoch')}"


if TYPE_CHECKING:  # a union: mypy then reports code that forgets a member
    SchedulerConfig = (
        NoSchedulerConfig | AshaSchedulerConfig | MedianSchedulerConfig | HyperBandSchedulerConfig | PbtSchedulerConfig
    )
else:
    SchedulerConfig = one_of(Scheduler, default="asha")
