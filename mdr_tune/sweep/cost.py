"""What a sweep will cost: epochs by its scheduler's arithmetic, time and GPU hours by what an epoch took before."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, assert_never

import numpy as np

from mdr_tune.config.arms import Arm
from mdr_tune.config.schedulers import (
    AshaSchedulerConfig,
    HyperBandSchedulerConfig,
    MedianSchedulerConfig,
    NoSchedulerConfig,
    PbtSchedulerConfig,
    SchedulerConfig,
)
from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.records.journal import read_records
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.sweep.stored_launches import PLAN
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import duration

if TYPE_CHECKING:
    from mdr_tune.sweep.plan import Plan

LAUNCHES_SEARCHED = 50
"""How many of the newest launches are looked through for the time of an epoch."""
_DECIDES_TIME = ("data", "backbone", "batch")
"""Sections of a trial that decide how long a step takes; iterations_per_epoch and the workers do so for an epoch."""


@dataclass(frozen=True)
class Epochs:
    """How many epochs a search trains in all.

    Attributes:
        least: It cannot be fewer, unless trials fail.
        expected: None where that depends on the values of the trials: it is then between the two others.
        most: It cannot be more.
    """

    least: int
    expected: float | None
    most: int

    @property
    def exact(self) -> bool:
        """Whether the number is known."""
        return self.least == self.most

    @property
    def likely(self) -> float:
        """What to reckon with: what is expected, else the most."""
        return self.most if self.expected is None else self.expected

    def __add__(self, other: "Epochs") -> "Epochs":
        both = None if self.expected is None or other.expected is None else self.expected + other.expected
        return Epochs(self.least + other.least, both, self.most + other.most)


@dataclass(frozen=True)
class Cost:
    """What a sweep will cost. Times are of `Epochs.likely` epochs; None where that of an epoch is not known.

    Attributes:
        wall_s: Training and evaluation on the lanes, without what starts and ends a sweep.
        device_hours: Of what `device_word` names.
        epochs_done: By earlier sessions; they are among the epochs, not in the times.
    """

    epochs: Epochs
    wall_s: float | None
    device_hours: float | None
    epochs_done: int = 0


@dataclass(frozen=True)
class MeasuredEpoch:
    """How long an epoch took, in seconds, and on which day that was measured, `2026-11-20`."""

    seconds: float
    day: str


def device_word(lanes: LaneResources) -> str:
    """Return what hours are counted of: GPUs where the lanes have some, else cores."""
    return "GPU" if lanes.gpus_per_worker else "core"


def device_hours(lanes: LaneResources, lane_seconds: float) -> float:
    """Return the hours that the GPUs (or cores) of a lane were held for, for seconds of training and evaluation."""
    return lane_seconds / 3600 * lanes.workers_per_lane * (lanes.gpus_per_worker or lanes.cpus_per_worker)


def estimate(
    arms: Sequence[Arm],
    scheduler: SchedulerConfig,
    seeds: int,
    lanes: LaneResources,
    seconds_per_epoch: float | None,
    epochs_done: int = 0,
) -> Cost:
    """Return what the arms of a sweep will cost, one after another.

    Args:
        seeds: Of each configuration that survives.
        seconds_per_epoch: Of one lane; None if it is not known.
        epochs_done: By earlier sessions of a sweep that goes on: their time is not counted.
    """
    each = [arm_epochs(arm, scheduler, seeds) for arm in arms]
    total = sum(each, Epochs(0, 0.0, 0))
    if seconds_per_epoch is None:
        return Cost(total, None, None, epochs_done)
    rounds = sum(_epochs_in_a_row(arm, epochs, seeds, lanes.num_lanes) for arm, epochs in zip(arms, each, strict=True))
    left = max(0.0, 1 - epochs_done / max(1.0, total.likely))
    hours = device_hours(lanes, left * total.likely * seconds_per_epoch)
    return Cost(total, left * rounds * seconds_per_epoch, hours, epochs_done)


def _epochs_in_a_row(arm: Arm, epochs: Epochs, seeds: int, num_lanes: int) -> float:
    """Return how many epochs the busiest lane trains: a trial cannot be split."""
    longest = _lengths(arm)[1]
    if epochs.least == arm.trials * seeds * longest:  # all have all of their epochs
        return math.ceil(arm.trials * seeds / num_lanes) * longest
    return max(epochs.likely / num_lanes, longest)


def _lengths(arm: Arm) -> tuple[int, int]:
    """Return the fewest and the most epochs that a trial of the arm is configured for."""
    lengths = section_variants(arm.trial, arm.space, "epochs")
    return min(lengths), max(lengths)


def arm_epochs(arm: Arm, scheduler: SchedulerConfig, seeds: int) -> Epochs:
    """Return how many epochs the trials of an arm train, further seeds included.

    Without a scheduler and with population based training every trial has all of its epochs; HyperBand's brackets are
    fixed beforehand; of ASHA the expectation is known, see `asha_survivors`; of median stopping the bounds only.
    The best of the trials survives every scheduler.
    """
    shortest, longest = _lengths(arm)
    trials = arm.trials
    most = trials * seeds * longest
    if isinstance(scheduler, NoSchedulerConfig | PbtSchedulerConfig):
        exact = shortest == longest
        return Epochs(trials * seeds * shortest, float(most) if exact else None, most)
    if isinstance(scheduler, HyperBandSchedulerConfig):
        epochs = hyperband_epochs(trials, longest, scheduler.reduction_factor)
        return Epochs(epochs, float(epochs), epochs)
    least = (trials - 1) * min(scheduler.grace_epochs, shortest) + shortest * seeds
    if isinstance(scheduler, AshaSchedulerConfig) and shortest == longest:
        rungs = asha_rungs(scheduler, longest)
        survivors = [float(trials), *asha_survivors(trials, len(rungs), scheduler.reduction_factor)]
        steps = np.diff([0, *rungs, longest])
        expected = float(np.dot(survivors, steps)) + survivors[-1] * (seeds - 1) * longest
        return Epochs(least, expected, most)
    if isinstance(scheduler, AshaSchedulerConfig | MedianSchedulerConfig):
        return Epochs(least, None, most)
    assert_never(scheduler)


def asha_rungs(scheduler: AshaSchedulerConfig, max_epochs: int) -> list[int]:
    """Return the epochs after which trials are stopped: grace x factor^k, below the last epoch."""
    rungs, rung = [], scheduler.grace_epochs
    while rung < max_epochs:
        rungs.append(rung)
        rung *= scheduler.reduction_factor
    return rungs


def asha_survivors(trials: int, rungs: int, factor: int) -> list[float]:
    """Return how many trials are expected to pass each rung of ASHA, one after another.

    Tune's rule: the first trial at a rung passes; one that finds m others recorded there passes if it is not below the
    (1 - 1/factor) quantile of those, interpolated linearly. If the trials come in random order, and their ranks at a
    rung do not depend on those at the rung before, it passes with probability (1 + (m - 1) / factor) / (m + 1): of the
    m + 1 equally likely ranks, those above the quantile's position (1 - 1/factor)(m - 1), a part of a gap counted in
    proportion. How many pass is so nearly linear in how many arrive that the expectation of the one is taken at the
    expectation of the other: that is off by less than 0.1 trials.
    """
    others = np.arange(trials)
    chances = np.where(others == 0, 1.0, (1 + (others - 1) / factor) / (others + 1))
    passing = np.concatenate(([0.0], np.cumsum(chances)))  # expected number that pass, of the first n at a rung
    expected = [float(trials)]
    for _ in range(rungs):
        expected.append(float(np.interp(expected[-1], np.arange(trials + 1), passing)))
    return expected[1:]


def hyperband_epochs(trials: int, max_epochs: int, factor: int) -> int:
    """Return the epochs of HyperBand, whose brackets `mdr_tune.search.schedulers.hyperband` describes."""
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


def measured_epoch(storage: Path, sweep: SweepConfig, lanes: LaneResources) -> MeasuredEpoch | None:
    """Return how long an epoch of such trials took in the newest launch that had some; None if none had.

    Such trials have data, backbone, batch and iterations as this sweep may have them, as many workers, and ran on
    GPUs, or on the same share of one, if these will.

    Args:
        storage: The folder with all sweeps' launches, of any name.
    """
    wanted = {section: section_variants(sweep.trial, sweep.space, section) for section in _DECIDES_TIME}
    dumped = {section: [variant.model_dump() for variant in variants] for section, variants in wanted.items()}
    iterations = section_variants(sweep.trial, sweep.space, "iterations_per_epoch")

    def is_alike(record: TrialRecord) -> bool:
        config = record.config
        return (
            all(config[section] in variants for section, variants in dumped.items())
            and config["iterations_per_epoch"] in iterations
            and (record.device == "cpu") == (lanes.gpus_per_worker == 0)
        )

    launches = sorted((storage / "sweeps").glob(f"*/*/{PLAN}"), key=lambda file: file.parent.name, reverse=True)
    for file in launches[:LAUNCHES_SEARCHED]:
        try:
            resources = json.loads(file.read_text())["sweep"]["resources"]
            if resources["workers_per_trial"] != lanes.workers_per_lane:
                continue
            had = resources["gpus_per_worker"]
            if lanes.gpus_per_worker and (1 if had == "auto" else had) != lanes.gpus_per_worker:
                continue
            alike = [record for record in read_records(file.parent) if is_alike(record)]
        except (UserError, OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
            continue  # damaged, or of another version: it is asked for an estimate only
        times = _epoch_times(alike)
        if times:
            return MeasuredEpoch(fmean(times), file.parent.name[:10])
    return None


def _epoch_times(records: Sequence[TrialRecord]) -> list[float]:
    return [epoch["time/epoch_s"] for record in records for epoch in record.history if "time/epoch_s" in epoch]


def describe_epochs(cost: Cost) -> str:
    """Return the number in words: `340`, `about 210, at most 340`, or `60 to 340`; and how many are done."""
    epochs = cost.epochs
    if epochs.exact:
        text = f"{epochs.most:,}"
    elif epochs.expected is None:
        text = f"{epochs.least:,} to {epochs.most:,}"
    else:
        text = f"about {epochs.expected:,.0f}, at most {epochs.most:,}"
    return text + (f"; {cost.epochs_done:,} are done" if cost.epochs_done else "")


def describe_time(cost: Cost, measured: MeasuredEpoch | None, lanes: LaneResources) -> str:
    """Return the time in words, and where it comes from."""
    if measured is None or cost.wall_s is None or cost.device_hours is None:
        return "not known before the first epoch: no earlier launch with this data, backbone, batch and workers"
    about = "at most about" if cost.epochs.expected is None else "about"
    time = duration(float(f"{cost.wall_s:.2g}"))  # a guess to two digits
    hours = f"{describe_hours(cost.device_hours)} {device_word(lanes)} hours"
    rest = "for the rest " if cost.epochs_done else ""
    return f"{rest}{about} {time} and {hours}, at the {measured.seconds:.2g} s an epoch measured on {measured.day}"


def describe_hours(hours: float) -> str:
    """Return hours to a tenth; less in as many digits as it needs."""
    return f"{hours:.1f}" if hours >= 0.1 else f"{hours:.1g}"


def plan_cost(plan: "Plan") -> tuple[Cost, MeasuredEpoch | None]:
    """Return what a launch will cost, and what that is reckoned from."""
    search = plan.sweep.search
    measured = measured_epoch(plan.stores.storage, plan.sweep, plan.lanes)
    done = sum(record.epochs for record in plan.past.records)
    seconds = measured.seconds if measured else None
    return estimate(plan.arms, search.scheduler, len(plan.sweep.training_seeds), plan.lanes, seconds, done), measured
