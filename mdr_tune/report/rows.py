"""The one row that all is made of which people read of a sweep: a configuration with its seeds.

The table at the end of a launch, the descriptions in MLflow, the leaderboard and the report have these rows, of which
`ablation.py` completes those of a report with settings, estimates and differences.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mdr_tune.config.domains import tell_apart
from mdr_tune.records.objectives import best_epoch_key, best_key
from mdr_tune.records.recorded_sweep import RecordedTrial, SweepEvidence
from mdr_tune.records.trial_record import Outcome, SweepResult, TrialRecord, by_configuration
from mdr_tune.report.names import format_parameters
from mdr_tune.report.row_settings import WITH_MDR, drawn, key_of, method_of
from mdr_tune.statistics import Interval

Verdict = Literal["better", "worse", "not separated", "not known"]
"""Of a row beside its baseline. `not separated`: the interval of the difference holds 0, or the corrected p is above
0.05; `not known`: fewer than two seeds in common, or differences without any spread to judge them by."""


@dataclass(frozen=True)
class Estimate(Interval):
    """A mean with its 95 % interval, in the units of its values.

    Attributes:
        values: By training seed; empty for an interval over queries.
        over: What the interval is over: `seeds`, Student's t; or `queries`, a bootstrap of a single run.
    """

    values: dict[int, float] = field(default_factory=dict)
    over: Literal["seeds", "queries"] = "seeds"


@dataclass(frozen=True)
class Difference:
    """A row's value less its baseline's, in points, paired by seed (or by query, where each has one seed).

    Attributes:
        baseline: Name of the baseline's configuration.
        label: What the baseline is, in words: `triplet`, `triplet_l2`.
        estimate: Of the difference.
        p: Of the paired t-test, two-sided; None where it cannot be had. None over queries.
        p_holm: Corrected by Holm for all differences of the table.
        verdict: What that says.
    """

    baseline: str
    label: str
    estimate: Estimate
    p: float | None
    p_holm: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Row:
    """A configuration with its seeds.

    Attributes:
        trials: The seeds, in the order in which they started.
        metric: The sweep's metric.
        ran: Seeds that are in the row's estimates.
        method: The loss, with `_l2` on the unit sphere and ` + MDR` with MDR: `triplet`, `triplet_l2`, `triplet + MDR`.
        setting: Of a grid what was varied, in words, other than the method: `embedding size 64`; rows that a baseline
            is shared by have the same setting, less what of it is MDR's. Of a search all that was drawn for the row.
        values: What was varied, by dotted key.
        estimates: By metric, `test/recall_at_1`: percent.
        differences: To each of its baselines, at the table's metric; empty for a baseline.
    """

    trials: list[RecordedTrial]
    metric: str
    ran: list[RecordedTrial] = field(default_factory=list)
    method: str = ""
    setting: str = ""
    values: dict[str, object] = field(default_factory=dict)
    estimates: dict[str, Estimate] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def first(self) -> TrialRecord:
        """The record of the first seed."""
        return self.trials[0].record

    @property
    def name(self) -> str:
        """Name of the configuration, `mdr-003`."""
        return self.first.config_name

    @property
    def has_mdr(self) -> bool:
        """Whether it was trained with MDR."""
        return self.method.endswith(WITH_MDR)

    @property
    def loss_name(self) -> str:
        """The method without MDR."""
        return self.method.removesuffix(WITH_MDR)

    @property
    def title(self) -> str:
        """The row in words: `triplet + MDR, embedding size 64`."""
        return f"{self.method}, {self.setting}" if self.setting else self.method

    @property
    def parameters(self) -> dict[str, Any]:
        """What was drawn, by dotted key; of MDR each key that it was drawn with."""
        return drawn(self.first.config, self.first.parameters)

    @property
    def records(self) -> dict[int, TrialRecord]:
        """Records of the seeds that are in the estimates, by training seed."""
        return {trial.record.seed: trial.record for trial in sorted(self.ran, key=lambda t: t.record.seed)}

    @property
    def seeds(self) -> list[int]:
        """Training seeds that are in the estimates."""
        return list(self.records)

    @property
    def failed_seeds(self) -> dict[int, str]:
        """Training seeds that are in no estimate, with how they ended: {2: "diverged"}."""
        ran = {trial.record.name for trial in self.ran}
        left = [trial.record for trial in self.trials if trial.record.name not in ran]
        return {record.seed: said_outcome(record.outcome) for record in left}

    @property
    def mean(self) -> tuple[float, int] | None:
        """Mean of the best values over the seeds that ran to their end, and their number; None if none did."""
        ended = [trial for trial in self.trials if trial.record.outcome == "completed"]
        values = [best[0] for trial in ended if (best := best_of(trial, self.metric)) is not None]
        return (sum(values) / len(values), len(values)) if values else None

    @property
    def value(self) -> tuple[float, int] | None:
        """What the row is chosen by, and the number of seeds in it: the mean, or the first seed's best without one."""
        own = best_of(self.trials[0], self.metric)
        return self.mean or (None if own is None else (own[0], 1))

    def values_of(self, metric: str) -> dict[int, float]:
        """Return a metric's value by training seed, of the seeds that are in the estimates and have it."""
        return {trial.record.seed: trial.metrics[metric] for trial in self.ran if metric in trial.metrics}

    def mean_of(self, metric: str) -> float | None:
        """Return the mean of a metric over all seeds that have it."""
        values = [trial.metrics[metric] for trial in self.trials if metric in trial.metrics]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class AblationTable:
    """All rows of one launch.

    Attributes:
        sweep: Its name.
        data: The data set.
        metric: Which metric the differences are of: `test/recall_at_1`; of validation while test is not read.
        metrics: All columns, in order.
        rows: In the order of the grid, baselines after it; of a search that is no grid: the best of each arm.
        is_grid: Whether all configurations are shown.
        protocol: `validation` or `paper`: on which classes the best epoch was chosen, see `SweepFacts`.
        notes: Sentences that a reader must know: seeds that failed, few seeds, what p was corrected for.
    """

    sweep: str
    data: str
    metric: str
    metrics: list[str]
    rows: list[Row]
    is_grid: bool
    notes: list[str]
    protocol: str = "validation"


def said_outcome(outcome: Outcome) -> str:
    """Return an outcome in words: `stopped early`."""
    return outcome.replace("_", " ")


def best_of(trial: RecordedTrial, metric: str) -> tuple[float, int] | None:
    """Return the best value of `metric` and its epoch, from the history or what MLflow has; None if it diverged."""
    record = trial.record
    if record.history or not record.counts:
        return record.best(metric)
    value = trial.metrics.get(best_key(metric))
    return None if value is None else (value, int(trial.metrics[best_epoch_key(metric)]))


def best_parameters(trial: RecordedTrial, metric: str) -> dict[str, Any]:
    """Return what a trial's best epoch was trained with: population based training changes it on the way."""
    best = best_of(trial, metric)
    return trial.record.parameters if best is None else trial.record.parameters_in(best[1])


def said_parameters(trials: Sequence[RecordedTrial], metric: str) -> dict[str, str]:
    """Return the parameters of each trial's best epoch in one short line, by its name.

    Those that differ are told apart, with more digits where it takes them.
    """
    texts = tell_apart([best_parameters(trial, metric) for trial in trials], format_parameters)
    return {trial.record.name: text for trial, text in zip(trials, texts, strict=True)}


def rows_of(trials: Iterable[RecordedTrial], metric: str) -> list[Row]:
    """Return a row for each configuration, in the order in which they started."""
    by_name = {trial.record.name: trial for trial in trials}
    groups = by_configuration(trial.record for trial in by_name.values())
    return [Row([by_name[record.name] for record in group], metric) for group in groups.values()]


def result_rows(result: SweepResult) -> list[Row]:
    """Return the rows of a sweep that runs or just ended, which is not read back from MLflow."""
    of_best = {record.name: result.test[arm] for arm, record in result.best.items() if arm in result.test}
    tests = of_best | result.tests
    return rows_of([RecordedTrial(r, "", tests.get(r.name, {})) for r in result.records], result.metric)


def best_so_far(records: Sequence[TrialRecord], metric: str) -> dict[str, TrialRecord]:
    """Return the first seed of the best configuration of each arm that has a value, by the mean over the seeds that
    ran to their end; the one that started first among equals."""
    found: dict[str, tuple[float, TrialRecord]] = {}
    for row in rows_of([RecordedTrial(record, "", {}) for record in records], metric):
        arm, value = row.first.arm, row.value
        if value is not None and (arm not in found or value[0] > found[arm][0]):
            found[arm] = value[0], row.first
    return {arm: first for arm, (_, first) in found.items()}


def grid_rows(evidence: SweepEvidence) -> list[Row]:
    """Return every configuration, the arms one after another, each in the order of its grid.

    Where the space has `seed`, configurations that are equal but for it are one row.
    """
    groups: dict[Any, list[RecordedTrial]] = {}
    arms = list(dict.fromkeys(trial.record.arm for trial in evidence.sweep.trials))
    in_order = sorted(
        evidence.sweep.trials, key=lambda t: (arms.index(t.record.arm), t.record.number, t.record.seed_index)
    )
    for trial in in_order:
        record = trial.record
        of_row = key_of(record.config) if "seed" in record.parameters else record.config_name
        groups.setdefault((record.arm, of_row), []).append(trial)
    return [_reported(trials, evidence, ("completed",)) for trials in groups.values()]


def best_rows(evidence: SweepEvidence) -> list[Row]:
    """Return the best configuration of each arm on validation, in the mean over its seeds, as the launch chose it."""
    sweep = evidence.sweep
    found = []
    for arm in dict.fromkeys(record.arm for record in sweep.records):
        rows = rows_of([trial for trial in sweep.trials if trial.record.arm == arm], sweep.metric)
        scored = [row for row in rows if row.value is not None]
        if any(len(row.trials) > 1 for row in rows):  # only those that have all of their seeds, if there are
            scored = [row for row in scored if row.first.outcome == "completed"] or scored
        if scored:
            best = max(scored, key=lambda row: (row.value or (0.0, 0))[0])
            found.append(_reported(best.trials, evidence, ("completed", "stopped_early")))
    return found


def _reported(trials: list[RecordedTrial], evidence: SweepEvidence, ran: tuple[Outcome, ...]) -> Row:
    counted = [trial for trial in trials if trial.record.outcome in ran]
    return Row(trials, evidence.sweep.metric, counted, method_of(trials[0].record.config))
