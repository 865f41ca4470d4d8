"""What is known of each trial while a sweep runs: the one thing that tracking, the status line and the report read."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mdr_tune.records.distance_snapshot import DistanceSnapshot
from mdr_tune.records.metrics import TEST_CURVES

Outcome = Literal["running", "completed", "stopped_early", "diverged", "failed", "killed"]
"""`diverged`: numbers stopped being finite, or all embeddings became one; `failed`: its code raised; `killed`: the
sweep was stopped before the trial's end, and --resume goes on with it."""


@dataclass(frozen=True)
class Change:
    """What population based training did to a trial after an epoch: it took over a better one's state, and went on.

    Attributes:
        epoch: The epoch after which it happened.
        source: Name of the trial whose weights, optimiser and levels it took.
        parameters: The values it goes on with, by dotted key.
    """

    epoch: int
    source: str
    parameters: dict[str, Any]


@dataclass
class TrialRecord:
    """One trial, from its start on.

    Attributes:
        name: Unique in the sweep, for people and programs: the arm and a number, `mdr-007`. A further seed of a
            configuration has the first one's name and its own place: `mdr-007.2`.
        arm: The main arm's name, or that of a baseline.
        number: The number of the configuration in the arm's study, from 0.
        seed_index: 0 for the first seed of a configuration, 1 for the second, ...
        parameters: The sampled values that it began with, by dotted key.
        config: The whole trial, nested, as `TrialConfig` takes it, the seed included.
        history: The metrics of each epoch, each with `epoch`.
        error: The traceback, if it failed; why, if it diverged.
        checkpoints: Checkpoint folder of each epoch that is kept.
        changes: What population based training changed in it.
        notes: What a user should know of it: a damaged checkpoint, a lane that was lost.
        device: What it ran on, `cpu` or a GPU's name, once known.
        distances: How the distances lay early, mid and at the end of the training, in the order of their epochs.
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
        """The training seed."""
        return int(self.config["seed"])

    @property
    def config_name(self) -> str:
        """The name of the configuration, which all of its seeds share."""
        return self.name.split(".")[0]

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    @property
    def ended(self) -> bool:
        """Whether it will not go on, not even after --resume."""
        return self.outcome not in ("running", "killed")

    @property
    def counts(self) -> bool:
        """Whether its values may be compared with others'. What diverged has none, however good it was before."""
        return self.outcome != "diverged"

    def best(self, metric: str) -> tuple[float, int] | None:
        """Return the highest value of `metric` and its epoch, the last among equals; None if there is none to compare.

        A trial that diverged has none.
        """
        if not self.counts:
            return None
        values = [(epoch[metric], int(epoch["epoch"])) for epoch in self.history if metric in epoch]
        return max(values, default=None)

    def parameters_in(self, epoch: int) -> dict[str, Any]:
        """Return the values with which it trained an epoch: population based training may have changed them."""
        changes = [change.parameters for change in self.changes if change.epoch < epoch]
        return {**self.parameters, **{key: value for changed in changes for key, value in changed.items()}}

    def best_parameters(self, metric: str) -> dict[str, Any]:
        """Return the values of its best epoch; those that it began with if it has none."""
        best = self.best(metric)
        return self.parameters_in(best[1]) if best else self.parameters

    def objectives(self, metrics: Sequence[str]) -> list[float] | None:
        """Return the best value of the first metric, and what the others are there: at that epoch, or, of a speed, in
        the mean over the epochs. None if there is no finite value."""
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
    """Is told what happens in a sweep, in order, on the driver."""

    def trial_started(self, record: TrialRecord) -> None:
        """A trial got its parameters and begins, or goes on after an interruption: then it has a history."""

    def epoch_finished(self, record: TrialRecord) -> None:
        """The last entry of `record.history` is new."""

    def trial_noted(self, record: TrialRecord) -> None:
        """The last entry of `record.notes`, or of `record.changes`, is new."""

    def trial_ended(self, record: TrialRecord) -> None:
        """`record.outcome` is final, or `killed`."""


def by_configuration(records: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Return the trials of each configuration by its name, in the order in which they started."""
    groups: dict[str, list[TrialRecord]] = {}
    for record in records:
        groups.setdefault(record.config_name, []).append(record)
    return groups


def whole_seeds(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the seeds of a configuration that ran to their end: the ones that are in its means."""
    return [record for record in records if record.outcome == "completed"]


def mean_over_seeds(records: Iterable[TrialRecord], metric: str) -> tuple[float, int] | None:
    """Return the mean best value over the seeds that ran to their end, and how many those are; None if none did.

    Args:
        records: The seeds of one configuration.
        metric: Name of the metric.
    """
    values = [best[0] for record in whole_seeds(records) if (best := record.best(metric)) is not None]
    return (sum(values) / len(values), len(values)) if values else None


@dataclass
class SweepResult:
    """What a sweep found.

    Attributes:
        metric: What is maximised; the first, if there are two.
        records: All trials, in the order in which they started.
        best: The best trial of each arm that has one, by the sweep's metric on validation. Of a configuration with
            several seeds, the first seed's, the configuration being the best in the mean.
        test: Test metrics of those (the mean over the seeds, where there are several).
        tests: Test metrics of each trial that was evaluated, by its name; of an ablation all that ran to their end.
        interrupted: The user stopped it before all trials were done.
        stopped_because: What ended searches before their trials were used up, in words: a budget, a target.
        can_go_on: Trials were cut off, or would run were the budget larger.
        main_arm: Name of the search that the file describes; the other arms are its baselines.
        shows_all: Every trial is a row of the result, not the best alone: a grid.
        second_metric: The second objective, if there are two.
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
        """Whether trials were evaluated on the test classes after each epoch."""
        return any(key.startswith(TEST_CURVES) for record in self.records for key in (record.history or [{}])[-1])

    @property
    def winner(self) -> TrialRecord | None:
        """The best trial of all arms on validation; the main arm's among equals."""
        return max(self.best.values(), key=self.value, default=None)

    def test_means(self) -> dict[str, dict[str, float]]:
        """Return the test metrics of each configuration that has some, by its name: the mean over its seeds.

        They are the seeds that ran to their end; the first one while none did.
        """
        found: dict[str, dict[str, float]] = {}
        for name, seeds in by_configuration(record for record in self.records if record.name in self.tests).items():
            tests = [self.tests[seed.name] for seed in whole_seeds(seeds) or seeds[:1]]
            found[name] = {key: sum(one[key] for one in tests) / len(tests) for key in tests[0]}
        return found

    def value(self, record: TrialRecord) -> float:
        """Return the best value of a trial; of one with several seeds, the mean over those that ran to their end."""
        seeds = [other for other in self.records if other.config_name == record.config_name]
        found = mean_over_seeds(seeds, self.metric) or record.best(self.metric)
        return found[0] if found else -math.inf
