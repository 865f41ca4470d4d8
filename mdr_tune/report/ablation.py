"""Make the table of an ablation from recorded values: means with intervals, and differences to the baselines."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np

from mdr_tune.records.metrics import METRICS, find
from mdr_tune.records.objectives import best_key, rank_of, recall_rank
from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.recorded_sweep import RecordedTrial, SweepEvidence
from mdr_tune.report.ablation_notes import notes
from mdr_tune.report.names import test_key
from mdr_tune.report.row_differences import baseline_pairs, compare_rows, pairs_with
from mdr_tune.report.row_settings import UNSAID, settings_of, tuned_setting, varied
from mdr_tune.report.rows import AblationTable, Estimate, Row, RunKey, best_parameters, best_rows, grid_rows
from mdr_tune.statistics import FoldSeed, bootstrap_means, mean_interval, mean_over_folds


def ablation_table(evidence: SweepEvidence, baseline: str | None = None) -> AblationTable:
    """Return the table of a launch: a row for each configuration of a grid, or for the best one of each search arm.

    A value is a mean over seeds with a 95 % t-interval. It is taken over the seeds that ran to their end; in a search,
    it includes seeds that were stopped early. If no row has more than one seed, the intervals of test metrics are over
    the test queries instead. With folds, values and differences are over the folds, by the corrected variance. Rows
    with MDR are compared with their baselines, paired by seed, or by fold and seed (see `baseline_pairs`). The p-values
    are corrected for the number of comparisons.

    Args:
        evidence: Records of the launch, as read from MLflow.
        baseline: Name of a row, such as `mdr-003`, to compare all others with. UserError if no row has this name.
    """
    is_grid = evidence.facts.sampler == "grid"
    rows = grid_rows(evidence) if is_grid else best_rows(evidence)
    metric, metrics = _metrics(evidence, [trial for row in rows for trial in row.ran])
    details = evidence.details if all(len(row.ran) < 2 for row in rows) else {}
    rows = [replace(row, estimates=_estimates(row, metrics, details)) for row in _with_settings(rows, is_grid)]
    pairs = pairs_with(rows, baseline) if baseline is not None else baseline_pairs(rows, is_grid)
    rows = compare_rows(rows, pairs, metric, details)
    return AblationTable(
        sweep=evidence.sweep.name,
        data=", ".join(dict.fromkeys(str(row.first.config["data"]["name"]) for row in rows)),
        metric=metric,
        metrics=metrics,
        rows=rows,
        is_grid=is_grid,
        notes=notes(evidence, metric, rows, pairs, details, baseline),
        protocol=evidence.facts.protocol,
        queries=_queries(evidence, rows),
    )


def _queries(evidence: SweepEvidence, rows: list[Row]) -> int | None:
    names = [trial.record.name for row in rows for trial in row.ran]
    numbers = {len(evidence.details[name].labels) for name in names if name in evidence.details}
    return numbers.pop() if len(numbers) == 1 else None


def _metrics(evidence: SweepEvidence, ran: list[RecordedTrial]) -> tuple[str, list[str]]:
    """Return the name of the metric in which rows are compared, and the names of the metrics of all columns.

    If the sweep of `evidence` maximises `val/recall_at_1`, rows are compared in `test/recall_at_1`. If at most half of
    the trials `ran` have a test value, rows are compared in `val/best_recall_at_1`. Test values are missing while the
    sweep runs, and in grids of an earlier version of the package, which evaluated only the best trials.
    """
    of_validation, wanted = best_key(evidence.sweep.metric), test_key(evidence.sweep.metric)
    if 2 * sum(wanted in trial.metrics for trial in ran) <= len(ran):
        return of_validation, [of_validation]
    known = {key for trial in ran for key in trial.metrics if key.startswith("test/")}
    recalls = sorted((rank, key) for key in known if (rank := recall_rank(key)) is not None)
    others = sorted((place, key) for key in known if recall_rank(key) is None and (place := _place(key)) is not None)
    columns = [key for _, key in recalls] + [key for _, key in others]
    columns = columns if wanted in columns else [wanted, *columns]
    chosen_on_test = evidence.facts.protocol == "paper"  # its best value is a test value, which has a column already
    return wanted, columns if chosen_on_test else [*columns, of_validation]


def _place(key: str) -> tuple[int, int, float] | None:
    """Return the place of the test metric `key` among the columns behind Recall@K; None if it is no column.

    Columns are in the order of METRICS, then by K, then by FAR, the highest first.
    """
    line = find(key)
    if line is None or not line.label:
        return None
    rate = re.search(r"[0-9.]+e-[0-9]+$", key)
    return METRICS.index(line), rank_of(key) or 0, -float(rate[0]) if rate else 0.0


def _with_settings(rows: list[Row], is_grid: bool) -> list[Row]:
    """Return `rows` with their fields `setting`, a text such as `margin 0.2`, and `values` filled in.

    In a grid (`is_grid`), a setting has the parameters that vary between the rows. In a search, it has all parameters
    that were drawn for the row.
    """
    parameters = [row.parameters for row in rows]
    configs = [row.first.config for row in rows]
    settings = settings_of(configs, parameters) if is_grid else [tuned_setting(*_tuned(row)) for row in rows]
    keys = [key for key in varied(parameters) if key not in UNSAID]
    return [
        replace(row, setting=setting, values={key: known[key] for key in keys if key in known})
        for row, setting, known in zip(rows, settings, parameters, strict=True)
    ]


def _tuned(row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
    return row.first.config, best_parameters(row.trials[0], row.metric)


def _estimates(row: Row, metrics: list[str], details: dict[str, TestDetails]) -> dict[str, Estimate]:
    estimates: dict[str, Estimate] = {}
    for metric in metrics:
        values = row.values_of(metric)
        if values:
            estimates[metric] = _over_runs(values, row.folds)
    found_details = [details[trial.record.name] for trial in row.ran if trial.record.name in details]
    of_test = [metric for metric in estimates if metric.startswith("test/")]
    return {**estimates, **_over_queries(found_details[0], of_test)} if found_details and of_test else estimates


def _over_runs(values: dict[RunKey, float], folds: int | None) -> Estimate:
    """Return the mean of `values`, by the keys of `Row.key_of`, with its interval over seeds, or over `folds`."""
    if folds is None:
        return Estimate(**vars(mean_interval(list(values.values()))), values=values)
    found = mean_over_folds(cast(dict[FoldSeed, float], values), folds)
    return Estimate(**vars(found), values=values, over="folds")


def _over_queries(details: TestDetails, metrics: Iterable[str]) -> dict[str, Estimate]:
    """Return by name the mean of each of `metrics` with a bootstrap interval over queries, from a run's `details`.

    Metrics that are no means over queries are left out.
    """
    names = [metric for metric in metrics if details.has(metric.removeprefix("test/"))]
    columns = np.stack([details.per_query(metric.removeprefix("test/")) for metric in names], axis=1)
    return {
        metric: Estimate(**vars(found), over="queries")
        for metric, found in zip(names, bootstrap_means(columns), strict=True)
    }
