"""The row that all tables about a sweep are made of, and the table of an ablation.

A row is one configuration with its seeds. Rows make up the table at the end of a launch, the descriptions in MLflow,
the leaderboard and the report. For a report, `ablation.py` adds settings, estimates and differences.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mdr_tune.config.domains import tell_apart
from mdr_tune.records.objectives import best_epoch_key, best_key
from mdr_tune.records.recorded_sweep import RecordedTrial, SweepEvidence
from mdr_tune.records.trial_record import Outcome, SweepResult, TrialRecord, by_configuration, mean_of_best, standing
from mdr_tune.report.names import format_parameters
from mdr_tune.report.row_settings import WITH_MDR, drawn, key_of, method_of
from mdr_tune.report.verdicts import Verdict
from mdr_tune.statistics import FoldSeed, Interval

EVALUATION = "evaluation"
"""In place of a protocol: the table is of an evaluation of models, and not of trials of a sweep."""

RunKey = int | FoldSeed
"""What the trials of a row are told apart by: the training seed, or (fold, seed) if the sweep has folds."""


@dataclass(frozen=True)
class Estimate(Interval):
    """A mean with its 95 % interval, in the units of its values.

    `values` has the value of each training seed, or of each fold and seed; it is empty for an interval over queries.
    `over` says whether the interval is Student's t-interval over `seeds`, the interval by the corrected variance over
    `folds` (see `statistics.folds`), or a bootstrap over the `queries` of a single run. `n` is the number of these. In
    an evaluation, `over_classes` is the interval of a bootstrap over whole classes.
    """

    values: Mapping[RunKey, float] = field(default_factory=dict)
    over: Literal["seeds", "folds", "queries"] = "seeds"
    over_classes: Interval | None = None


@dataclass(frozen=True)
class Difference:
    """Difference between a row and its baseline in one metric: the row's value minus the baseline's, in points.

    Values are paired by seed, or by query if the intervals are over the queries of single runs.

    Attributes:
        baseline: Name of the baseline's configuration.
        label: Method of the baseline: `triplet`, `triplet_l2`.
        estimate: Mean difference with its interval, in points.
        p: p-value of the two-sided paired t-test; None if there is no test, as in a pairing by query.
        p_holm: p-value corrected by Holm's method for all differences of the table.
        metric: Metric of the difference; empty if it is the table's.
    """

    baseline: str
    label: str
    estimate: Estimate
    p: float | None
    p_holm: float | None
    verdict: Verdict
    metric: str = ""


@dataclass(frozen=True)
class Row:
    """A configuration with its seeds.

    Attributes:
        trials: Trial of each seed, in the order in which they started.
        metric: Name of the sweep's metric.
        ran: Trials whose values are used for the row's estimates.
        method: Name of the method, see `method_of`: `triplet`, `triplet_l2`, `triplet + MDR`.
        setting: Text with the values that a grid varied, or that a search drew: `margin 0.2, weight 0.1`. In a grid,
            the settings of rows with the same baseline differ only in the values that concern MDR.
        values: Value of each parameter that varies between the table's rows, by dotted key.
        estimates: Estimate of each metric, in percent, by the metric's name: `test/recall_at_1`.
        differences: Differences to the row's baselines in the table's metric; empty for a row without baselines.
        folds: Number of folds that the classes were cut into; None without a cross-validation.
    """

    trials: list[RecordedTrial]
    metric: str
    ran: list[RecordedTrial] = field(default_factory=list)
    method: str = ""
    setting: str = ""
    values: dict[str, object] = field(default_factory=dict)
    estimates: dict[str, Estimate] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    folds: int | None = None

    @property
    def first(self) -> TrialRecord:
        """Record of the first seed."""
        return self.trials[0].record

    @property
    def name(self) -> str:
        """Name of the configuration, `mdr-003`."""
        return self.first.config_name

    @property
    def has_mdr(self) -> bool:
        """Whether the row was trained with MDR."""
        return self.method.endswith(WITH_MDR)

    @property
    def loss_name(self) -> str:
        """Name of the row's method without ` + MDR`."""
        return self.method.removesuffix(WITH_MDR)

    @property
    def title(self) -> str:
        """Method and setting: `triplet + MDR, embedding size 64`."""
        return f"{self.method}, {self.setting}" if self.setting else self.method

    @property
    def parameters(self) -> dict[str, Any]:
        """Drawn values by dotted key. If a whole section was drawn for MDR, its keys replace it, see `drawn`."""
        return drawn(self.first.config, self.first.parameters)

    def key_of(self, record: TrialRecord) -> RunKey:
        """Return the training seed of `record`, or its (fold, seed) if the row has folds."""
        return record.seed if self.folds is None else (record.fold or 0, record.seed)

    @property
    def records(self) -> dict[RunKey, TrialRecord]:
        """Records of the trials in `ran`, by `key_of`, ascending."""
        ordered = sorted((trial.record for trial in self.ran), key=lambda r: (r.fold or 0 if self.folds else 0, r.seed))
        return {self.key_of(record): record for record in ordered}

    @property
    def seeds(self) -> list[RunKey]:
        """Training seeds of the trials in `ran`, or their (fold, seed), ascending."""
        return list(self.records)

    @property
    def failed_seeds(self) -> dict[RunKey, str]:
        """Outcome of each trial that is in no estimate, by `key_of`. If seed 2 diverged, it is {2: "diverged"}."""
        ran = {trial.record.name for trial in self.ran}
        left = [trial.record for trial in self.trials if trial.record.name not in ran]
        return {self.key_of(record): said_outcome(record.outcome) for record in left}

    @property
    def mean(self) -> tuple[float, int] | None:
        """Mean best value of the seeds that ran to their end, and the number of these seeds; None without a value."""
        return mean_of_best((trial.record, best_of(trial, self.metric)) for trial in self.trials)

    @property
    def value(self) -> tuple[float, int] | None:
        """Value by which rows are ranked, and the number of seeds in it; None if the row has no value.

        It is `mean` or, if there is no mean, the first seed's best value.
        """
        own = best_of(self.trials[0], self.metric)
        return self.mean or (None if own is None else (own[0], 1))

    def values_of(self, metric: str) -> dict[RunKey, float]:
        """Return the value of `metric` by `key_of`, for those trials in `ran` that have a value."""
        return {self.key_of(trial.record): trial.metrics[metric] for trial in self.ran if metric in trial.metrics}

    def mean_of(self, metric: str) -> float | None:
        """Return the mean of `metric` over all seeds that have a value; None if no seed has one."""
        values = [trial.metrics[metric] for trial in self.trials if metric in trial.metrics]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class AblationTable:
    """Table of one launch: its rows, and what its columns and differences are about.

    Attributes:
        data: Name of the data set.
        metric: Metric in which rows are compared: a test metric, or a validation metric while test values are missing.
        metrics: Metrics of all columns, in order.
        rows: For a grid, all configurations in order, then the baselines. For a search, the best of each arm.
        is_grid: Whether the launch is a grid, so that all of its configurations are shown.
        notes: Notes for the reader of the table: on failed seeds, on few seeds, on the correction of p-values.
        protocol: `validation` or `paper`, which says on which classes the best epoch was chosen; see `SweepFacts`.
            `EVALUATION` for models that were evaluated as they are.
        queries: Number of test queries of each trial; None if it is not known, or not the same for all.
    """

    sweep: str
    data: str
    metric: str
    metrics: list[str]
    rows: list[Row]
    is_grid: bool
    notes: list[str]
    protocol: str = "validation"
    queries: int | None = None

    @property
    def is_evaluation(self) -> bool:
        """Whether the rows are models that were evaluated as they are."""
        return self.protocol == EVALUATION


def said_key(key: RunKey) -> str:
    """Return `key` in words: `seed 2`, or `fold 0, seed 2`."""
    return f"seed {key}" if isinstance(key, int) else f"fold {key[0]}, seed {key[1]}"


def said_outcome(outcome: Outcome) -> str:
    """Return `outcome` in words: `stopped early`."""
    return outcome.replace("_", " ")


def best_of(trial: RecordedTrial, metric: str) -> tuple[float, int] | None:
    """Return the best value of `metric` and its epoch; None if `trial` diverged, or has no value."""
    record = trial.record
    if record.history or not record.counts:
        return record.best(metric)
    value = trial.metrics.get(best_key(metric))
    return None if value is None else (value, int(trial.metrics[best_epoch_key(metric)]))


def best_parameters(trial: RecordedTrial, metric: str) -> dict[str, Any]:
    """Return the parameters of `trial` in its best epoch by `metric`. Population based training may change them."""
    best = best_of(trial, metric)
    return trial.record.parameters if best is None else trial.record.parameters_in(best[1])


def said_parameters(trials: Sequence[RecordedTrial], metric: str) -> dict[str, str]:
    """Return a short line with the parameters of each of `trials` at its best epoch by `metric`, by the trial's name.

    Different parameters have different lines: numbers get more digits if the lines would be equal otherwise.
    """
    texts = tell_apart([best_parameters(trial, metric) for trial in trials], format_parameters)
    return {trial.record.name: text for trial, text in zip(trials, texts, strict=True)}


def rows_of(trials: Iterable[RecordedTrial], metric: str) -> list[Row]:
    """Return a row for each configuration in `trials`, in the order in which the configurations started.

    `metric` is the metric that the sweep maximises.
    """
    by_name = {trial.record.name: trial for trial in trials}
    groups = by_configuration(trial.record for trial in by_name.values())
    return [Row([by_name[record.name] for record in group], metric) for group in groups.values()]


def result_rows(result: SweepResult) -> list[Row]:
    """Return the rows of a sweep that runs or has just ended, made from its `result` without reading MLflow."""
    of_best = {record.name: result.test[arm] for arm, record in result.best.items() if arm in result.test}
    tests = of_best | result.tests
    return rows_of([RecordedTrial(r, "", tests.get(r.name, {})) for r in result.records], result.metric)


def best_so_far(records: Sequence[TrialRecord], metric: str, finalists: int | None = None) -> dict[str, TrialRecord]:
    """Return by arm the first seed's record of its best configuration. Arms without a value are left out.

    Configurations rank by `Row.value`; unless `finalists` is None, those with a mean of several seeds come first. Of
    equal ones, the first to start wins.
    """
    found: dict[str, tuple[tuple[bool, float], TrialRecord]] = {}
    for row in rows_of([RecordedTrial(record, "", {}) for record in records], metric):
        arm, key = row.first.arm, standing(row.value, finalists)
        if row.value is not None and (arm not in found or key > found[arm][0]):
            found[arm] = key, row.first
    return {arm: first for arm, (_, first) in found.items()}


def grid_rows(evidence: SweepEvidence) -> list[Row]:
    """Return a row for each configuration of the grid in `evidence`, arm by arm, in the order of each arm's grid.

    If the grid varies `seed`, configurations that differ only in the seed make one row.
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
    """Return a row for each arm of the search in `evidence`: its best configuration, as the launch chose it."""
    sweep = evidence.sweep
    found = []
    for arm in dict.fromkeys(record.arm for record in sweep.records):
        rows = rows_of([trial for trial in sweep.trials if trial.record.arm == arm], sweep.metric)
        scored = [row for row in rows if row.value is not None]
        if any(len(row.trials) > 1 for row in rows):  # only rows with all of their seeds, if any
            scored = [row for row in scored if row.first.outcome == "completed"] or scored
        if scored:
            best = max(scored, key=lambda row: standing(row.value, sweep.finalists))
            found.append(_reported(best.trials, evidence, ("completed", "stopped_early")))
    return found


def _reported(trials: list[RecordedTrial], evidence: SweepEvidence, ran: tuple[Outcome, ...]) -> Row:
    counted = [trial for trial in trials if trial.record.outcome in ran]
    row = Row(trials, evidence.sweep.metric, counted, method_of(trials[0].record.config))
    return replace(row, folds=evidence.facts.folds)
