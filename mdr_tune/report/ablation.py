"""Make the table of an ablation from what was recorded: means with intervals, and differences to the baselines."""

from collections.abc import Iterable

import numpy as np

from mdr_tune.records.objectives import best_key, recall_rank
from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.recorded_sweep import RecordedTrial, SweepEvidence
from mdr_tune.report.ablation_notes import named_baseline, notes
from mdr_tune.report.ablation_table import AblationTable, Estimate, TableRow
from mdr_tune.report.chance import near_chance
from mdr_tune.report.gains import summary_sentences
from mdr_tune.report.overview import Overview, overview
from mdr_tune.report.row_differences import baseline_pairs, compare_rows, pairs_with
from mdr_tune.report.row_settings import UNSAID, method_of, settings_of, tuned_setting, varied
from mdr_tune.report.summary import test_key
from mdr_tune.report.table_rows import Configuration, best_rows, grid_rows
from mdr_tune.statistics import bootstrap_means, mean_interval

__all__ = ["Overview", "ablation_table", "overview", "summary_sentences"]


def ablation_table(evidence: SweepEvidence, baseline: str | None = None) -> AblationTable:
    """Return the table of a launch: of a grid every configuration, of a search the best of each arm on validation.

    A row's values are means over the seeds that ran to their end, with a 95 % t-interval. Where no row has more than
    one, intervals are over the test queries of that run. Rows with MDR are compared with those that are equal but for
    MDR, and the embedding mode, by a test that is paired by seed; the p-values are corrected over the whole table.

    Args:
        evidence: What was recorded.
        baseline: Name of a configuration that every other row is compared with instead.

    Raises:
        UserError: `baseline` is none of the rows; the text names them.
    """
    is_grid = evidence.facts.sampler == "grid"
    configurations = grid_rows(evidence) if is_grid else best_rows(evidence)
    metric, metrics = _metrics(evidence, [trial for c in configurations for trial in c.ran])
    one_run_each = all(len(configuration.ran) < 2 for configuration in configurations)
    details = evidence.details if one_run_each else {}
    rows = _rows(configurations, _settings(configurations, evidence), evidence.sweep.metric, metrics, details)
    pairs = pairs_with(configurations, baseline) if baseline is not None else baseline_pairs(configurations, is_grid)
    rows = compare_rows(rows, configurations, pairs, metric, details)
    return AblationTable(
        sweep=evidence.sweep.name,
        data=", ".join(dict.fromkeys(str(c.config["data"]["name"]) for c in configurations)),
        metric=metric,
        metrics=metrics,
        rows=rows,
        is_grid=is_grid,
        notes=[
            *notes(evidence.facts, metric, rows, configurations, pairs, details),
            *([] if baseline is None else [named_baseline(baseline)]),
            *near_chance(rows, evidence.details),
        ],
        protocol=evidence.facts.protocol,
    )


def _metrics(evidence: SweepEvidence, ran: list[RecordedTrial]) -> tuple[str, list[str]]:
    """Return the metric that rows are compared at, and all columns.

    It is the test metric beside the sweep's, unless most of the trials have none: an earlier version of the package
    evaluated the best trials of a grid only, and a sweep that still runs none.
    """
    of_validation, wanted = best_key(evidence.sweep.metric), test_key(evidence.sweep.metric)
    if 2 * sum(wanted in trial.metrics for trial in ran) <= len(ran):
        return of_validation, [of_validation]
    known = {key for trial in ran for key in trial.metrics if key.startswith("test/")}
    recalls = sorted((rank, key) for key in known if (rank := recall_rank(key)) is not None)
    columns = [key for _, key in recalls] + [key for key in ("test/map_at_r", "test/r_precision") if key in known]
    columns = columns if wanted in columns else [wanted, *columns]
    chosen_on_test = evidence.facts.protocol == "paper"  # its best value is the test's, told already
    return wanted, columns if chosen_on_test else [*columns, of_validation]


def _settings(configurations: list[Configuration], evidence: SweepEvidence) -> list[str]:
    """Return what each row is beside its method: of a grid what varies, of a search all that it found."""
    if evidence.facts.sampler != "grid":
        return [tuned_setting(c.config, c.best_parameters(evidence.sweep.metric)) for c in configurations]
    return settings_of([c.config for c in configurations], [c.parameters for c in configurations])


def _rows(
    configurations: list[Configuration],
    settings: list[str],
    sweep_metric: str,
    metrics: list[str],
    details: dict[str, TestDetails],
) -> list[TableRow]:
    parameters = [configuration.parameters for configuration in configurations]
    keys = [key for key in varied(parameters) if key not in UNSAID]
    return [
        TableRow(
            name=configuration.name,
            method=method_of(configuration.config),
            setting=setting,
            values={key: configuration.parameters[key] for key in keys if key in configuration.parameters},
            seeds=sorted(trial.record.seed for trial in configuration.ran),
            failed_seeds=configuration.failed(),
            estimates=_estimates(configuration, metrics, details),
            epochs=configuration.best_epochs(sweep_metric),
            trials={trial.record.seed: trial.record.name for trial in configuration.trials},
        )
        for configuration, setting in zip(configurations, settings, strict=True)
    ]


def _estimates(
    configuration: Configuration, metrics: list[str], details: dict[str, TestDetails]
) -> dict[str, Estimate]:
    estimates: dict[str, Estimate] = {}
    for metric in metrics:
        values = configuration.values(metric)
        if values:
            found = mean_interval(list(values.values()))
            estimates[metric] = Estimate(found.mean, found.low, found.high, found.n, values)
    found_details = [details[t.record.name] for t in configuration.ran if t.record.name in details]
    of_test = [metric for metric in estimates if metric.startswith("test/")]
    return {**estimates, **_over_queries(found_details[0], of_test)} if found_details and of_test else estimates


def _over_queries(details: TestDetails, metrics: Iterable[str]) -> dict[str, Estimate]:
    """Return the test metrics of a single run with intervals over its queries."""
    names = list(metrics)
    columns = np.stack([details.per_query(metric.removeprefix("test/")) for metric in names], axis=1)
    return {
        metric: Estimate(found.mean, found.low, found.high, found.n, over="queries")
        for metric, found in zip(names, bootstrap_means(columns), strict=True)
    }
