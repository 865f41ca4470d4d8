"""The trials that both sides run, what is timed of them, and what follows from it."""

import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mdr_tune.cluster.machine import Machine
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.records.journal import Journal
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.search.ledger import Ledger
from mdr_tune.search.stop_rules import StopRules
from mdr_tune.sweep.lane_layout import fit_lanes
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.stores import Stores

WORKERS_PER_TRIAL = 2
ITERATIONS_PER_EPOCH = 5
COMPARED = ("train/", "val/", "mdr/")
"""Metrics that a trial's config determines, and that are therefore the same on both sides, bit for bit."""


def make_plan(side: str, trials: int, folder: Path, machine: Machine) -> Plan:
    """Return one side's launch: tiny trials that differ in MDR's weight, on one lane of CPU workers.

    A launch of fewer trials has the first ones of one of more.
    """
    weights = [round(0.05 * (i + 1), 2) for i in range(max(2, trials))]  # one value alone would not be searched
    sweep = SweepConfig.model_validate(
        {
            "name": "trial_overhead",
            "trial": {"data": {"name": "glyphs"}, "epochs": 1, "iterations_per_epoch": ITERATIONS_PER_EPOCH},
            "search": {"trials": trials, "scheduler": "none"},
            "space": {"mdr.weight": weights},
            "start_from": [{"mdr.weight": weight} for weight in weights[:trials]],
            "resources": {"workers_per_trial": WORKERS_PER_TRIAL, "lanes": 1, "gpus_per_worker": 0},
        }
    )
    stores = Stores(folder, tracking_uri="")  # nothing is tracked here
    return Plan(sweep, Path("-"), "", (), stores, machine, fit_lanes(sweep, machine), address=None, launch=side)


@contextlib.contextmanager
def open_books(plan: Plan, stopwatch: "Stopwatch") -> Iterator[tuple[Ledger, StopRules]]:
    """Open what keeps account of a launch, as `launch.py` does; the stopwatch listens, not MLflow and the status."""
    rules = StopRules(plan.sweep.search.stop, plan.arms, plan.metrics[0], gpus_per_trial=0)
    with contextlib.closing(Journal(plan.folder, print)) as journal:
        yield Ledger(journal, plan.metrics, 1, False, listeners=[rules, stopwatch], records=[]), rules


@dataclass
class Stopwatch:
    """A sweep's listener that stamps when Tune has a trial's actor running, and when it has the trial's end.

    Stamps are in seconds since the epoch, so that those of several processes compare.
    """

    started: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)

    def trial_started(self, record: TrialRecord) -> None:
        self.started[record.name] = time.time()

    def epoch_finished(self, record: TrialRecord) -> None:
        pass

    def trial_noted(self, record: TrialRecord) -> None:
        pass

    def trial_ended(self, record: TrialRecord) -> None:
        self.ended[record.name] = time.time()


@dataclass(frozen=True)
class Side:
    """One side's search, measured.

    Attributes:
        records: Its trials, in the order in which they ran, one after another.
        search_start: When Tune was called, nothing of it being there yet, but (on lanes) the lanes being ready.
        lanes_start_s: What was paid once before, for the lanes.
    """

    records: list[TrialRecord]
    stopwatch: Stopwatch
    search_start: float
    lanes_start_s: float | None = None

    def __post_init__(self) -> None:
        for record in self.records:
            if record.outcome != "completed":
                raise RuntimeError(f"the trial {record.name} ended as {record.outcome}: {record.error}")

    def training_s(self) -> list[float]:
        """Return each trial's time in epochs (training and validation)."""
        return [sum(epoch["time/epoch_s"] for epoch in record.history) for record in self.records]

    def trial_s(self) -> list[float]:
        """Return each trial's time from its actor running to its end, by Tune's callbacks."""
        watch = self.stopwatch
        return [watch.ended[record.name] - watch.started[record.name] for record in self.records]

    def beyond_training_s(self) -> list[float]:
        """Return what each trial takes between Tune's callbacks and does not spend in epochs."""
        return [trial - training for trial, training in zip(self.trial_s(), self.training_s(), strict=True)]

    def beyond_training_of_further_trials_s(self) -> float | None:
        """Return the time from the first trial's end to the last's that is not spent in epochs, per trial after it.

        Counts what Tune does between its callbacks as well: actors, suggestions, checkpoints. None for one trial.
        """
        if len(self.records) == 1:
            return None
        ends = self.stopwatch.ended.values()
        return (max(ends) - min(ends) - sum(self.training_s()[1:])) / (len(self.records) - 1)

    def beyond_training_of_search_s(self) -> float:
        """Return the whole search's time that is not spent in epochs, per trial; Tune's own start counts as well."""
        search_s = max(self.stopwatch.ended.values()) - self.search_start
        return (search_s - sum(self.training_s())) / len(self.records)


@dataclass(frozen=True)
class Comparison:
    """Whether equal configs gave equal numbers: pairs of trials compared, metrics in each, and what differs."""

    trials: int
    metrics: int
    differences: list[str]


def median_after_first(values: Sequence[float]) -> float:
    """Return the median of the trials' values without the first one's, which warms up; a single one's is it."""
    return statistics.median(values[1:] or values)


def compare(recipe: Side, lanes: Side) -> Comparison:
    """Compare the metrics of the trials that both sides ran, exactly."""
    on_lanes = {repr(record.config): record for record in lanes.records}
    differences, metrics, trials = [], 0, 0
    for ours in recipe.records:
        theirs = on_lanes.get(repr(ours.config))
        if theirs is None:
            continue
        trials += 1
        for epoch, (left, right) in enumerate(zip(ours.history, theirs.history, strict=True), start=1):
            names = sorted(name for name in left.keys() | right.keys() if name.startswith(COMPARED))
            metrics = len(names)
            differences += [
                f"mdr.weight {ours.parameters['mdr.weight']}, epoch {epoch}, {name}: {left.get(name)} as documented, "
                f"{right.get(name)} on lanes"
                for name in names
                if left.get(name) != right.get(name)
            ]
    return Comparison(trials, metrics, differences)
