"""Estimate the epochs, the time and the GPU hours that a sweep will take.

The number of epochs is computed from the rules of the scheduler. The time and the GPU hours are computed from the
measured time of epochs in earlier launches.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from mdr_tune.config.arms import Arm, data_variants
from mdr_tune.config.schedulers import Epochs, Scheduler
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
"""Number of newest launches in which a measured time of an epoch is looked for."""
_DECIDES_TIME = ("data", "backbone", "batch")
"""Sections of a trial that decide how long a step takes. An epoch's time also depends on `iterations_per_epoch` and the
workers."""


@dataclass(frozen=True)
class Cost:
    """The estimated cost of a sweep.

    The times assume that `epochs.likely` epochs are trained. They are None if no earlier launch has measured an epoch.

    Attributes:
        epochs: Number of epochs of all sessions, including the earlier ones.
        wall_s: Remaining wall time of training and evaluation on the lanes, in seconds. The start and the end of the
            sweep are not included.
        device_hours: Remaining hours of GPUs or of CPU cores; `device_word` returns which of the two are counted.
        epochs_done: Number of epochs that earlier sessions trained. `epochs` includes them, the times do not.
        final_epochs: Number of those epochs that are for further seeds of finalists; None if there are no finalists.
    """

    epochs: Epochs
    wall_s: float | None
    device_hours: float | None
    epochs_done: int = 0
    final_epochs: Epochs | None = None


@dataclass(frozen=True)
class MeasuredEpoch:
    """The time that an epoch took in an earlier launch.

    Attributes:
        seconds: Mean time of an epoch in seconds.
        day: Day of that launch, such as `2026-11-20`.
    """

    seconds: float
    day: str


def device_word(lanes: LaneResources) -> str:
    """Return the device whose hours are counted: `GPU` if the lanes have GPUs, otherwise `core`, a core of a CPU."""
    return "GPU" if lanes.gpus_per_worker else "core"


def device_hours(lanes: LaneResources, lane_seconds: float) -> float:
    """Return the hours of GPUs (or CPU cores) that one lane uses in `lane_seconds` of training and evaluation."""
    return lane_seconds / 3600 * lanes.workers_per_lane * (lanes.gpus_per_worker or lanes.cpus_per_worker)


def estimate(
    arms: Sequence[Arm],
    scheduler: Scheduler,
    seeds: int,
    lanes: LaneResources,
    seconds_per_epoch: float | None,
    epochs_done: int = 0,
    finals: Sequence[Epochs] = (),
) -> Cost:
    """Return the estimated cost of the arms of a sweep, which run one after another.

    Args:
        arms: Arms of the sweep.
        scheduler: Configuration of the scheduler.
        seeds: Number of training seeds that each surviving configuration gets.
        lanes: Lanes that the sweep runs on.
        seconds_per_epoch: Seconds that an epoch takes on one lane; None if not known.
        epochs_done: Number of epochs that earlier sessions trained. The returned times do not include them.
        finals: For each of `arms`, the epochs of its finalists' further seeds; see `final_epochs`. `seeds` is 1 then.
    """
    each = [arm_epochs(arm, scheduler, seeds) for arm in arms]
    further = sum(finals, Epochs(0, 0.0, 0)) if finals else None
    total = sum([*each, *finals], Epochs(0, 0.0, 0))
    if seconds_per_epoch is None:
        return Cost(total, None, None, epochs_done, further)
    rounds = sum(_epochs_in_a_row(arm, epochs, seeds, lanes.num_lanes) for arm, epochs in zip(arms, each, strict=True))
    for arm, epochs in zip(arms, finals, strict=False):
        longest = _lengths(arm)[1]
        rounds += math.ceil(epochs.likely / longest / lanes.num_lanes) * longest
    left = max(0.0, 1 - epochs_done / max(1.0, total.likely))
    hours = device_hours(lanes, left * total.likely * seconds_per_epoch)
    return Cost(total, left * rounds * seconds_per_epoch, hours, epochs_done, further)


def _epochs_in_a_row(arm: Arm, epochs: Epochs, seeds: int, num_lanes: int) -> float:
    """Return the estimated number of epochs that the busiest lane trains one after another.

    A trial is never split between lanes.
    """
    longest = _lengths(arm)[1]
    if epochs.least == arm.trials * seeds * longest:  # every trial trains all of its epochs
        return math.ceil(arm.trials * seeds / num_lanes) * longest
    return max(epochs.likely / num_lanes, longest)


def _lengths(arm: Arm) -> tuple[int, int]:
    """Return the smallest and the largest number of epochs that a trial of the arm may have."""
    lengths = section_variants(arm.trial, arm.space, "epochs")
    return min(lengths), max(lengths)


def arm_epochs(arm: Arm, scheduler: Scheduler, seeds: int) -> Epochs:
    """Return the number of epochs for the trials of `arm`. Survivors get `seeds` seeds; see `Scheduler.epochs`."""
    return scheduler.epochs(arm.trials, *_lengths(arm), seeds)


def final_epochs(arm: Arm, scheduler: Scheduler, further_seeds: int, finalists: int, most: int) -> Epochs:
    """Return the number of epochs for the `further_seeds` of each finalist of `arm`.

    There are `finalists` of them, or as many as run to their end if these are fewer. After extensions of the sweep,
    there may be up to `most`.
    """
    shortest, longest = _lengths(arm)
    one, two = (arm_epochs(arm, scheduler, seeds) for seeds in (1, 2))  # they differ by a seed of each survivor
    expected = None
    if most == finalists and one.expected is not None and two.expected is not None:
        expected = further_seeds * min(two.expected - one.expected, float(finalists * longest))
    least = further_seeds * min(two.least - one.least, finalists * shortest)
    return Epochs(least, expected, further_seeds * min(two.most - one.most, most * longest))


def measured_epoch(storage: Path, sweep: SweepConfig, lanes: LaneResources) -> MeasuredEpoch | None:
    """Return the mean time of an epoch in the newest launch with trials like those of `sweep`; None if there is none.

    A trial is alike if its data, backbone, batch and iterations per epoch occur in `sweep`, and if it had the number of
    workers and the kind of device of `lanes`: CPUs, or the same share of a GPU.

    Args:
        storage: Storage folder; launches of sweeps of any name are searched.
        sweep: Sweep to estimate.
        lanes: Lanes that the sweep will run on.
    """
    wanted = {section: section_variants(sweep.trial, sweep.space, section) for section in _DECIDES_TIME}
    wanted["data"] = data_variants(sweep)
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
            continue  # damaged, or of another version: skipped, since it only serves an estimate
        times = _epoch_times(alike)
        if times:
            return MeasuredEpoch(fmean(times), file.parent.name[:10])
    return None


def _epoch_times(records: Sequence[TrialRecord]) -> list[float]:
    return [epoch["time/epoch_s"] for record in records for epoch in record.history if "time/epoch_s" in epoch]


def describe_epochs(cost: Cost) -> str:
    """Return a text on the number of epochs, such as `340`, `about 210, at most 340`, or `60 to 340`.

    It goes on with `; of these 40 for further seeds` (of finalists) and `; 120 are done`, if there are any.
    """
    text, finals = _describe_number(cost.epochs), cost.final_epochs
    text += f"; of these {_describe_number(finals)} for further seeds" if finals is not None else ""
    return text + (f"; {cost.epochs_done:,} are done" if cost.epochs_done else "")


def _describe_number(epochs: Epochs) -> str:
    if epochs.exact:
        return f"{epochs.most:,}"
    if epochs.expected is None:
        return f"{epochs.least:,} to {epochs.most:,}"
    return f"about {epochs.expected:,.0f}, at most {epochs.most:,}"


def describe_time(cost: Cost, measured: MeasuredEpoch | None, lanes: LaneResources) -> str:
    """Return a text on the time, the device hours, and the measured epoch from which they are computed.

    An example is `about 3h and 6.0 GPU hours, at the 12 s an epoch measured on 2026-11-20`.
    """
    if measured is None or cost.wall_s is None or cost.device_hours is None:
        return "told after the first steps: no earlier launch with this data, backbone, batch and workers"
    about = "at most about" if cost.epochs.expected is None else "about"
    time = duration(float(f"{cost.wall_s:.2g}"))  # an estimate deserves two digits
    hours = f"{describe_hours(cost.device_hours)} {device_word(lanes)} hours"
    rest = "for the rest " if cost.epochs_done else ""
    return f"{rest}{about} {time} and {hours}, at the {measured.seconds:.2g} s an epoch measured on {measured.day}"


def describe_hours(hours: float) -> str:
    """Return hours as text, rounded to a tenth, or to one significant digit if they are less than a tenth."""
    return f"{hours:.1f}" if hours >= 0.1 else f"{hours:.1g}"


def plan_cost(plan: "Plan") -> tuple[Cost, MeasuredEpoch | None]:
    """Return the estimated cost of a launch, and the measured epoch from which it is computed.

    In place of the measured epoch, None is returned if no earlier launch has one.
    """
    search = plan.sweep.search
    measured = measured_epoch(plan.stores.storage, plan.sweep, plan.lanes)
    done = sum(record.epochs for record in plan.past.records)
    seconds = measured.seconds if measured else None
    seeds, most, finals = plan.sweep.num_repeats, plan.most_finalists, list[Epochs]()
    if search.finalists is not None and most is not None:
        finals = [final_epochs(arm, search.scheduler, seeds - 1, search.finalists, most) for arm in plan.arms]
        seeds = 1
    return estimate(plan.arms, search.scheduler, seeds, plan.lanes, seconds, done, finals), measured
