"""Records of trials while a sweep runs. MLflow, the status line and the report show the content of these records."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mdr_tune.records.distance_snapshot import DistanceSnapshot
from mdr_tune.records.metrics import TEST_CURVES

Outcome = Literal["running", "completed", "stopped_early", "diverged", "failed", "killed"]
"""State of a trial, or how it ended.

`diverged`: its numbers stopped being finite, or all of its embeddings became equal. `failed`: its code raised an error.
`killed`: the sweep was stopped before the trial's end, and --resume goes on with the trial.
"""


@dataclass(frozen=True)
class Change:
    """A change that population based training made after `epoch`: the trial took over the state of a better trial.

    `source` is the name of the better trial, whose weights, optimiser state and levels were taken over. `parameters`
    are the values that the trial goes on with, by dotted key.
    """

    epoch: int
    source: str
    parameters: dict[str, Any]


@dataclass
class TrialRecord:
    """Record of one trial, from its start on.

    Attributes:
        name: Name of the trial, unique in the sweep: the arm and a number, such as `mdr-007`. The trial of a
            configuration's second seed is `mdr-007.2`, and so on.
        arm: Name of the trial's arm: the main arm or a baseline.
        number: Number of the configuration in the arm's study, from 0.
        parameters: Sampled values that the trial began with, by dotted key.
        config: Nested configuration of the whole trial, as `TrialConfig` takes it, including the seed.
        seed_index: Index of the trial among those of its configuration, from 0: of its seed, or with folds of its seed
            and fold.
        history: Metrics of each finished epoch, in order; each entry has the key `epoch`.
        error: Traceback if the trial failed, reason if it diverged, otherwise None.
        checkpoints: Folder of each checkpoint that is kept, by epoch.
        changes: Changes that population based training made to the trial.
        notes: Events that the user should know of, such as a damaged checkpoint or a lost lane.
        device: Device that the trial ran on, `cpu` or a GPU's name; None while unknown.
        distances: Snapshots of the distances at the beginning, in the middle and at the end of the training, in order.
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
    def fold(self) -> int | None:
        """Fold, from 0, whose classes are the trial's validation classes; None without a cross-validation."""
        validation = self.config.get("data", {}).get("validation")
        fold = validation.get("fold") if isinstance(validation, dict) else None
        return None if fold is None else int(fold)

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
        """Whether the trial may be compared with others. A diverged trial may not, however good its values are."""
        return self.outcome != "diverged"

    def best(self, metric: str) -> tuple[float, int] | None:
        """Return the highest value of `metric` and the last epoch with this value.

        Return None if the trial has no value of the metric, or has diverged.
        """
        if not self.counts:
            return None
        values = [(epoch[metric], int(epoch["epoch"])) for epoch in self.history if metric in epoch]
        return max(values, default=None)

    def parameters_in(self, epoch: int) -> dict[str, Any]:
        """Return the parameters that the trial had in `epoch`, from 1, with the changes made after earlier epochs."""
        changes = [change.parameters for change in self.changes if change.epoch < epoch]
        return {**self.parameters, **{key: value for changed in changes for key, value in changed.items()}}

    def best_parameters(self, metric: str) -> dict[str, Any]:
        """Return the parameters in the best epoch by `metric`; if there is none, those that the trial began with."""
        best = self.best(metric)
        return self.parameters_in(best[1]) if best else self.parameters

    def objectives(self, metrics: Sequence[str]) -> list[float] | None:
        """Return the best value of the first of `metrics`, and the values of the other metrics at the same epoch.

        The value of a metric of the group `time`, such as a speed, is its mean over all epochs. Return None if a value
        is missing or not finite.
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
        """Handle the start of a trial. After an interruption, `record` already has a history."""

    def epoch_finished(self, record: TrialRecord) -> None:
        """Handle a finished epoch: the last entry of `record.history` is new."""

    def trial_noted(self, record: TrialRecord) -> None:
        """Handle a note or a change: the last entry of `record.notes` or of `record.changes` is new."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Handle the end of a trial: `record.outcome` is final, or is `killed` if a resume goes on with the trial."""


def by_configuration(records: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Group the trials `records` by the name of their configuration. Trials and configurations keep their order."""
    groups: dict[str, list[TrialRecord]] = {}
    for record in records:
        groups.setdefault(record.config_name, []).append(record)
    return groups


def whole_seeds(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return those of `records` that ran to their end. Only they count in the mean of a configuration."""
    return [record for record in records if record.outcome == "completed"]


def mean_over_seeds(records: Iterable[TrialRecord], metric: str) -> tuple[float, int] | None:
    """Return the mean of the best values of `metric` in `records`, and the number of trials that it is taken over.

    `records` are the seeds of one configuration. Only trials that ran to their end count; None if none has a value.
    """
    return mean_of_best((record, record.best(metric)) for record in records)


def mean_of_best(seeds: Iterable[tuple[TrialRecord, tuple[float, int] | None]]) -> tuple[float, int] | None:
    """Return the mean of the best values of those `seeds` that ran to their end, and the number of these seeds.

    Each of `seeds` is (trial, (best value, epoch)), or (trial, None) without a value. Return None if all lack a value.
    """
    values = [best[0] for record, best in seeds if record.outcome == "completed" and best is not None]
    return (sum(values) / len(values), len(values)) if values else None


def best_first_seeds(records: Iterable[TrialRecord], metric: str, number: int) -> list[TrialRecord]:
    """Return the first seeds of the `number` best configurations in `records`, the best first.

    They are ranked by their best epoch's `metric`; ties stay in the order of `records`. Only trials that ran to their
    end and have a finite value count.
    """
    firsts = [record for record in records if record.seed_index == 0 and record.outcome == "completed"]
    scored = [(values[0], record) for record in firsts if (values := record.objectives([metric])) is not None]
    return [record for _, record in sorted(scored, key=lambda pair: -pair[0])[:number]]


def standing(value: tuple[float, int] | None, finalists: int | None) -> tuple[bool, float]:
    """Return the key by which configurations are ranked. The best configuration has the greatest key.

    With `finalists`, a mean over several seeds is ranked above any value of one seed: the best single seed of many is
    too high by chance.

    Args:
        value: Value of the configuration, and the number of seeds that it is the mean of; None without a value.
        finalists: Number of each arm's configurations that get further seeds after its search; None if the sweep does
            not choose finalists.
    """
    number, seeds = value or (-math.inf, 0)
    return finalists is not None and seeds > 1, number


@dataclass
class SweepResult:
    """Result of a sweep.

    Attributes:
        metric: Name of the metric that is maximised. With two objectives, it is the first.
        records: All trials, in the order in which they started.
        best: Best trial of each arm by the sweep's metric, by the arm's name. With several seeds, it is the first seed
            of the configuration with the best mean. An arm without a value is left out.
        test: Test metrics of the best trial of each arm, by the arm's name; with several seeds, their means.
        tests: Test metrics of each evaluated trial, by its name. An ablation evaluates all completed trials.
        interrupted: Whether the user stopped the sweep before all trials were done.
        stopped_because: Reasons why searches ended early, such as a budget that is used up; None if no search did.
        can_go_on: Whether a resume has something to do: trials were cut off, or a larger budget would allow more.
        main_arm: Name of the arm that the sweep file describes; the other arms are its baselines.
        shows_all: Whether the table of the result shows all configurations, as for a grid, and not only the best ones.
        second_metric: Name of the second objective; None if there is one objective.
        finalists: Number of each arm's configurations that get further seeds after its search; None if the sweep does
            not choose finalists.
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
    finalists: int | None = None

    @property
    def test_was_read_on_the_way(self) -> bool:
        """Whether trials were evaluated on the test classes after each epoch, and not only at the end."""
        return any(key.startswith(TEST_CURVES) for record in self.records for key in (record.history or [{}])[-1])

    @property
    def winner(self) -> TrialRecord | None:
        """Best trial of all arms by `standing_of`, the main arm's in a tie; None if no trial has a value."""
        return max(self.best.values(), key=self.standing_of, default=None)

    def test_means(self) -> dict[str, dict[str, float]]:
        """Return the mean test metrics of each evaluated configuration, by the configuration's name.

        The mean is over the evaluated seeds that ran to their end, or else over the first evaluated seed alone.
        """
        found: dict[str, dict[str, float]] = {}
        for name, seeds in by_configuration(record for record in self.records if record.name in self.tests).items():
            tests = [self.tests[seed.name] for seed in whole_seeds(seeds) or seeds[:1]]
            found[name] = {key: sum(one[key] for one in tests) / len(tests) for key in tests[0]}
        return found

    def standing_of(self, record: TrialRecord) -> tuple[bool, float]:
        """Return the key, see `standing`, of the configuration of `record`: by the mean of its seeds' best values.

        Only seeds that ran to their end count. If there are none, the best value of `record` itself is taken.
        """
        seeds = [other for other in self.records if other.config_name == record.config_name]
        own = record.best(self.metric)
        return standing(mean_over_seeds(seeds, self.metric) or (own and (own[0], 1)), self.finalists)
