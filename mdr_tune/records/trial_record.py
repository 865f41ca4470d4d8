"""Record of each trial while a sweep runs: the one source that tracking, the status line and the report read."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mdr_tune.records.distance_snapshot import DistanceSnapshot
from mdr_tune.records.metrics import TEST_CURVES

Outcome = Literal["running", "completed", "stopped_early", "diverged", "failed", "killed"]
"""State of a trial, or how it ended.

`diverged`: numbers stopped being finite, or all embeddings became equal. `failed`: the trial's code raised. `killed`:
the sweep was stopped before the trial's end, and --resume goes on with the trial.
"""


@dataclass(frozen=True)
class Change:
    """A change that population based training made: the trial took over the state of a better trial and went on.

    Attributes:
        epoch: Epoch after which the trial was changed.
        source: Name of the better trial, whose weights, optimiser state and levels were taken over.
        parameters: Values that the trial goes on with, by dotted key.
    """

    epoch: int
    source: str
    parameters: dict[str, Any]


@dataclass
class TrialRecord:
    """Record of one trial, from its start on.

    Attributes:
        name: Name of the trial, unique in the sweep: the arm and a number, such as `mdr-007`. Further seeds of a
            configuration add their place to the name of the first: `mdr-007.2` is the second seed.
        arm: Name of the trial's arm: the main arm or a baseline.
        number: Number of the configuration in the arm's study, from 0.
        parameters: Sampled values that the trial began with, by dotted key.
        config: Nested configuration of the whole trial, as `TrialConfig` takes it, including the seed.
        seed_index: Place of the trial's seed among those of its configuration, from 0.
        history: Metrics of each finished epoch, in order; each entry has the key `epoch`.
        outcome: State of the trial, or how it ended.
        error: Traceback of a trial that failed; reason why a trial diverged; otherwise None.
        checkpoints: Folder of each checkpoint that is kept, by epoch.
        changes: Changes that population based training made to the trial.
        notes: Events that the user should know of, such as a damaged checkpoint or a lost lane.
        device: Device that the trial ran on, `cpu` or a GPU's name; None while unknown.
        distances: Distance snapshots from the beginning, the middle and the end of the training, in order.
    """

    name: str
    arm: str
    number: int
    parameters: dict[str, Any]
    config: dict[str, Any]
    seed_index: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    outcome: Outcome = "running"
    error: str | None = None
    checkpoints: dict[int, str] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    device: str | None = None
    distances: list[DistanceSnapshot] = field(default_factory=list)

    @property
    def seed(self) -> int:
        """Training seed of the trial."""
        return int(self.config["seed"])

    @property
    def config_name(self) -> str:
        """Name of the configuration, which all of its seeds share."""
        return self.name.split(".")[0]

    @property
    def epochs(self) -> int:
        """Number of epochs done."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    @property
    def ended(self) -> bool:
        """Whether the trial has ended for good, so that not even --resume goes on with it."""
        return self.outcome not in ("running", "killed")

    @property
    def counts(self) -> bool:
        """Whether the trial's values may be compared with others. Those of a diverged trial may not, however good."""
        return self.outcome != "diverged"

    def best(self, metric: str) -> tuple[float, int] | None:
        """Return the highest value of `metric` and its epoch, the last epoch among equal values.

        None if the trial has no value of the metric, or has diverged.
        """
        if not self.counts:
            return None
        values = [(epoch[metric], int(epoch["epoch"])) for epoch in self.history if metric in epoch]
        return max(values, default=None)

    def parameters_in(self, epoch: int) -> dict[str, Any]:
        """Return the values with which the trial trained an epoch, as population based training had changed them."""
        changes = [change.parameters for change in self.changes if change.epoch < epoch]
        return {**self.parameters, **{key: value for changed in changes for key, value in changed.items()}}

    def best_parameters(self, metric: str) -> dict[str, Any]:
        """Return the values with which the trial trained its best epoch; those it began with if it has no best."""
        best = self.best(metric)
        return self.parameters_in(best[1]) if best else self.parameters

    def objectives(self, metrics: Sequence[str]) -> list[float] | None:
        """Return the best value of the first metric, and the values of the other metrics that go with it.

        The value of another metric is taken at the best epoch of the first. That of a metric of the group `time`, such
        as a speed, is the mean over all epochs. None if one of the values is missing or not finite.
        """
        best = self.best(metrics[0])
        if best is None:
            return None
        at_best = next(epoch for epoch in self.history if epoch["epoch"] == best[1])
        values = [best[0]]
        for metric in metrics[1:]:
            measured = [epoch[metric] for epoch in self.history if metric in epoch]
            of_all = metric.startswith("time/") and measured
            values.append(sum(measured) / len(measured) if of_all else at_best.get(metric, math.nan))
        return values if all(map(math.isfinite, values)) else None


class SweepListener(Protocol):
    """Object whose methods are called for the events of a sweep, in order, on the driver."""

    def trial_started(self, record: TrialRecord) -> None:
        """Handle the start of a trial. A trial that goes on after an interruption already has a history."""

    def epoch_finished(self, record: TrialRecord) -> None:
        """Handle a finished epoch: the last entry of `record.history` is new."""

    def trial_noted(self, record: TrialRecord) -> None:
        """Handle a note or a change: the last entry of `record.notes` or of `record.changes` is new."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Handle the end of a trial: `record.outcome` is final, or `killed`."""


def by_configuration(records: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Return the trials of each configuration, by its name; trials and configurations keep their order."""
    groups: dict[str, list[TrialRecord]] = {}
    for record in records:
        groups.setdefault(record.config_name, []).append(record)
    return groups


def whole_seeds(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that ran to their end. Only these count in the mean of a configuration."""
    return [record for record in records if record.outcome == "completed"]


def mean_over_seeds(records: Iterable[TrialRecord], metric: str) -> tuple[float, int] | None:
    """Return the mean of the best values of the seeds that ran to their end, and their number; None if there are none.

    Args:
        records: Trials of one configuration, one for each seed.
        metric: Name of the metric.
    """
    values = [best[0] for record in whole_seeds(records) if (best := record.best(metric)) is not None]
    return (sum(values) / len(values), len(values)) if values else None


@dataclass
class SweepResult:
    """Result of a sweep.

    Attributes:
        metric: Name of the metric that is maximised; the first of two.
        records: All trials, in the order in which they started.
        best: Best trial of each arm by the sweep's metric, by the arm's name; an arm without a value is left out. With
            several seeds, the configuration that is best in the mean counts, and its first seed is the trial.
        test: Test metrics of the best trial of each arm, by the arm's name; with several seeds, their mean.
        tests: Test metrics of each trial that was evaluated, by the trial's name. An ablation evaluates all trials that
            ran to their end.
        interrupted: Whether the user stopped the sweep before all trials were done.
        stopped_because: Reason why searches ended before all their trials were run, in words: a budget, a target.
        can_go_on: Whether trials were cut off, or would run with a larger budget.
        main_arm: Name of the arm that the sweep file describes; the other arms are its baselines.
        shows_all: Whether the result has a row for every trial, as for a grid, and not for the best ones alone.
        second_metric: Name of the second objective; None if there is one objective.
    """

    metric: str
    records: list[TrialRecord] = field(default_factory=list)
    best: dict[str, TrialRecord] = field(default_factory=dict)
    test: dict[str, dict[str, float]] = field(default_factory=dict)
    tests: dict[str, dict[str, float]] = field(default_factory=dict)
    interrupted: bool = False
    stopped_because: str | None = None
    can_go_on: bool = False
    main_arm: str = "mdr"
    shows_all: bool = False
    second_metric: str | None = None

    @property
    def test_was_read_on_the_way(self) -> bool:
        """Whether trials were evaluated on the test classes after each epoch, and not only at the end."""
        return any(key.startswith(TEST_CURVES) for record in self.records for key in (record.history or [{}])[-1])

    @property
    def winner(self) -> TrialRecord | None:
        """Best trial of all arms by the sweep's metric; among equals, that of the main arm."""
        return max(self.best.values(), key=self.value, default=None)

    def test_means(self) -> dict[str, dict[str, float]]:
        """Return the test metrics of each configuration that was evaluated, by its name: the mean over its seeds.

        The mean is over the evaluated seeds that ran to their end. If there are none, the first evaluated seed counts.
        """
        found: dict[str, dict[str, float]] = {}
        for name, seeds in by_configuration(record for record in self.records if record.name in self.tests).items():
            tests = [self.tests[seed.name] for seed in whole_seeds(seeds) or seeds[:1]]
            found[name] = {key: sum(one[key] for one in tests) / len(tests) for key in tests[0]}
        return found

    def value(self, record: TrialRecord) -> float:
        """Return the best value of a trial's configuration: the mean over its seeds that ran to their end.

        If no seed ran to its end, it is the best value of the trial itself; -inf if the trial has none.
        """
        seeds = [other for other in self.records if other.config_name == record.config_name]
        found = mean_over_seeds(seeds, self.metric) or record.best(self.metric)
        return found[0] if found else -math.inf
