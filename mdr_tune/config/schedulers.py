"""The schedulers that a sweep file may name. A scheduler stops, pauses or replaces trials before their end.

To add a scheduler, add a class here, and add it to `SchedulerConfig`. The type checker then asks for its line in
`mdr_tune.search.schedulers.make`, which makes the object that Ray Tune gets.
"""

import math
import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mdr_tune.config.strict_model import Named, one_of
from mdr_tune.config.units import SHARE
from mdr_tune.util.words import count


@dataclass(frozen=True)
class Epochs:
    """Bounds and expectation of the number of epochs that a search trains in all.

    Attributes:
        least: Smallest possible number, unless trials fail.
        expected: Expected number; None if it depends on the values that the trials reach.
        most: Largest possible number.
    """

    least: int
    expected: float | None
    most: int

    @property
    def exact(self) -> bool:
        """Whether the number is certain: its bounds are equal."""
        return self.least == self.most

    @property
    def likely(self) -> float:
        """Number of epochs to plan with: the expected number, or the largest one if there is no expected number."""
        return self.most if self.expected is None else self.expected

    def __add__(self, other: "Epochs") -> "Epochs":
        both = None if self.expected is None or other.expected is None else self.expected + other.expected
        return Epochs(self.least + other.least, both, self.most + other.most)


class Scheduler(Named, ABC):
    """A scheduler that a sweep file may name.

    Attributes:
        waits: True if trials wait for each other. After an interruption, all trials of an arm then pass through Ray
            Tune again, including those that had ended.
        takes_over: True if a trial may go on from the state of another trial, with other values than it began with.
    """

    waits: ClassVar[bool] = False
    takes_over: ClassVar[bool] = False

    @abstractmethod
    def describe(self) -> str:
        """Return a short text for the user: what the scheduler does with trials before their end."""

    @abstractmethod
    def epochs(self, trials: int, shortest: int, longest: int, seeds: int) -> Epochs:
        """Return bounds of the number of epochs that a search trains. No scheduler stops the best trial early.

        Args:
            trials: Number of trials, not counting those of further seeds.
            shortest: Smallest number of epochs that a trial may have.
            longest: Largest number of epochs that a trial may have.
            seeds: Number of training seeds of each survivor. The epochs of all its seeds are counted.
        """


class NoSchedulerConfig(Scheduler):
    """No scheduler: every trial is trained for all of its epochs."""

    name: Literal["none"]

    def describe(self) -> str:
        """Return a text that says that no trial is stopped early."""
        return "none is stopped early"

    def epochs(self, trials: int, shortest: int, longest: int, seeds: int) -> Epochs:
        """Return the number of epochs: every trial trains all of its epochs."""
        return _all_epochs(trials * seeds, shortest, longest)


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

    def rungs(self, max_epochs: int) -> list[int]:
        """Return the rungs below `max_epochs`: `grace_epochs` * `reduction_factor`^k for k = 0, 1, ..."""
        rungs, rung = [], self.grace_epochs
        while rung < max_epochs:
            rungs.append(rung)
            rung *= self.reduction_factor
        return rungs

    def epochs(self, trials: int, shortest: int, longest: int, seeds: int) -> Epochs:
        """Return bounds of the number of epochs, and the expected number if all trials have equally many epochs."""
        least = (trials - 1) * min(self.grace_epochs, shortest) + shortest * seeds
        expected = None
        if shortest == longest:
            rungs = self.rungs(longest)
            survivors = [float(trials), *asha_survivors(trials, len(rungs), self.reduction_factor)]
            ends = [*rungs, longest]
            steps = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
            expected = math.fsum(map(operator.mul, survivors, steps)) + survivors[-1] * (seeds - 1) * longest
        return Epochs(least, expected, trials * seeds * longest)


class MedianSchedulerConfig(Scheduler):
    """Median stopping (Golovin et al., KDD 2017).

    After an epoch of a trial, the mean of each other trial's values up to that epoch is computed. The trial is stopped
    if its best value is below the median of these means.
    """

    name: Literal["median"]
    grace_epochs: int = Field(1, ge=1)
    """Number of epochs that every trial is trained for. The means are taken over the epochs from this one on."""
    min_trials: int = Field(3, ge=1)
    """Number of other trials that must have reached an epoch before a trial is stopped at it."""

    def describe(self) -> str:
        """Return the scheduler's name, and the epoch after which trials are first compared."""
        return f"median stopping after epoch {self.grace_epochs}"

    def epochs(self, trials: int, shortest: int, longest: int, seeds: int) -> Epochs:
        """Return bounds of the number of epochs. The expected number is None: it depends on the trials' values."""
        least = (trials - 1) * min(self.grace_epochs, shortest) + shortest * seeds
        return Epochs(least, None, trials * seeds * longest)


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

    def epochs(self, trials: int, shortest: int, longest: int, seeds: int) -> Epochs:
        """Return the number of epochs. It is exact, because the brackets are fixed beforehand."""
        epochs = hyperband_epochs(trials, longest, self.reduction_factor)
        return Epochs(epochs, float(epochs), epochs)


class PbtSchedulerConfig(Scheduler):
    """Population based training (Jaderberg et al., 2017).

    All trials of an arm are one population. They pause at the same epochs, and copies of the best replace the worst.
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

    def epochs(self, trials: int, shortest: int, longest: int, seeds: int) -> Epochs:
        """Return the number of epochs: every trial trains all of its epochs."""
        return _all_epochs(trials * seeds, shortest, longest)


def _all_epochs(trials: int, shortest: int, longest: int) -> Epochs:
    return Epochs(trials * shortest, float(trials * longest) if shortest == longest else None, trials * longest)


def asha_survivors(trials: int, rungs: int, factor: int) -> list[float]:
    """Return the expected number of trials that pass each rung of ASHA, in the order of the rungs.

    Tune's rule is as follows. The first trial that arrives at a rung passes. Every later trial is compared with the m
    trials that arrived before it. It passes if its value is not below the (1 - 1/factor) quantile of their m values,
    interpolated linearly.

    Assume that the trials arrive in random order, and that their ranks at a rung do not depend on their ranks at the
    rung before. Then a later trial may be below all m values, between any two of them, or above all, with equal
    probability 1 / (m + 1). The quantile is at position (1 - 1/factor)(m - 1) of the ascending values, counted from 0.
    If it is between two values, the trial passes with the share of this gap that is above the quantile. In all, the
    trial passes with probability (1 + (m - 1) / factor) / (m + 1).

    The expected number of trials that pass is almost linear in the number that arrive. So it is computed as if exactly
    the expected number arrived. The error is less than 0.1 trials.

    Args:
        trials: Number of trials at the first rung.
        rungs: Number of rungs.
        factor: Reduction factor.
    """
    import numpy as np

    others = np.arange(trials)
    chances = np.where(others == 0, 1.0, (1 + (others - 1) / factor) / (others + 1))
    passing = np.concatenate(([0.0], np.cumsum(chances)))  # expected number that pass, of the first n at a rung
    expected = [float(trials)]
    for _ in range(rungs):
        expected.append(float(np.interp(expected[-1], np.arange(trials + 1), passing)))
    return expected[1:]


def hyperband_epochs(trials: int, max_epochs: int, factor: int) -> int:
    """Return the number of epochs that HyperBand trains in all, for `trials` trials and the reduction factor `factor`.

    `mdr_tune.search.schedulers.hyperband` describes the brackets. `max_epochs` is the length of a whole trial.
    """
    highest = 0
    while factor ** (highest + 1) <= max_epochs:
        highest += 1
    epochs, bracket = 0, highest
    while trials > 0:
        began = min(trials, math.ceil((highest + 1) * factor**bracket / (bracket + 1)))
        going_on, before = began, 0
        for passed, power in enumerate(range(bracket, 0, -1), 1):
            rung = max_epochs // factor**power
            epochs += going_on * (rung - before)
            going_on, before = max(1, began // factor**passed), rung
        epochs += going_on * (max_epochs - before)
        trials -= began
        bracket = (bracket - 1) % (highest + 1)
    return epochs


if TYPE_CHECKING:  # a union: mypy then reports code that forgets a member
    SchedulerConfig = (
        NoSchedulerConfig | AshaSchedulerConfig | MedianSchedulerConfig | HyperBandSchedulerConfig | PbtSchedulerConfig
    )
else:
    SchedulerConfig = one_of(Scheduler, default="asha")
