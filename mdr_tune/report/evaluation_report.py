"""Make the table and the report of an evaluation: models as rows, with intervals, and differences to the first model.

It is the report of a sweep with other rows. Intervals are bootstraps over the queries and over classes, and differences
are paired by query.
"""

import json
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mdr_tune.records.evaluation import EvaluatedModel, Evaluation
from mdr_tune.records.metrics import metric_label
from mdr_tune.records.objectives import recall_rank
from mdr_tune.records.provenance import source, versions
from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.recorded_sweep import RecordedTrial, SweepEvidence, SweepFacts, SweepRecords
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.report.description import cut_to_room
from mdr_tune.report.names import full_title
from mdr_tune.report.output.data_files import difference_rows, value_rows, write_rows
from mdr_tune.report.output.latex import latex
from mdr_tune.report.output.markdown import escape, markdown, table_lines
from mdr_tune.report.output.section import DIFFERENCES, Section, slugs
from mdr_tune.report.output.texts import caption, ends, interval, number, signed, value
from mdr_tune.report.page import page
from mdr_tune.report.plots.all_figures import draw
from mdr_tune.report.rows import EVALUATION, AblationTable, Difference, Estimate, Row
from mdr_tune.statistics import Interval, bootstrap_means
from mdr_tune.util.words import count


def evaluation_table(evaluation: Evaluation) -> AblationTable:
    """Return the table of `evaluation`: a row for each model, with all of its metrics.

    A value has two 95 % intervals, by the bootstrap over the queries and over whole classes; metrics without a value
    for each query have none. Each model but the first has its differences to the first, in all such metrics.
    """
    metrics = _in_order(evaluation)
    first = evaluation.models[0]
    rows = [
        Row(
            trials=[_trial(evaluation, model)],
            metric=metrics[0],
            ran=[_trial(evaluation, model)],
            method=_title(evaluation, model),
            estimates=_estimates(model, metrics),
            differences=[] if model is first else _differences(evaluation, model, metrics),
        )
        for model in evaluation.models
    ]
    return AblationTable(
        sweep=evaluation.data,
        data=describe_data(evaluation),
        metric=metrics[0],
        metrics=metrics,
        rows=rows,
        is_grid=False,
        notes=[f"{_title(evaluation, one)}: {note}." for one in evaluation.models for note in one.notes],
        protocol=EVALUATION,
    )


def describe_data(evaluation: Evaluation) -> str:
    """Return the data of `evaluation` in words: data set, split, images, classes, queries."""
    images, classes, queries = evaluation.images, evaluation.classes, evaluation.queries
    gallery = f", gallery of {images - queries:,}" if evaluation.has_gallery else ""
    return (
        f"{evaluation.data}, {evaluation.split} split: {images:,} images, {count(classes, 'class')}, "
        f"{queries:,} queries{gallery}"
    )


def evaluation_sentences(table: AblationTable) -> list[str]:
    """Return sentences on the `table` of an evaluation: the best model, and each difference to the first model."""
    title = full_title(table.metric)
    best = max(table.rows, key=lambda row: row.estimates[table.metric].mean)
    estimate = best.estimates[table.metric]
    what = f"Best by {title}: {best.method}, with" if len(table.rows) > 1 else f"{best.method}: {title}"
    found = [f"{what} {number(estimate.mean)} ({_told(ends(estimate), ends(estimate.over_classes))})."]
    for row in table.rows:
        for difference in row.differences:
            if difference.metric == table.metric:
                estimate = difference.estimate
                told = _told(interval(estimate), interval(estimate.over_classes))
                told = f"{signed(estimate.mean)} points of {title} ({told})"
                found.append(f"{row.method} less {difference.label}: {told}: {_separated(estimate.over_classes)}.")
    return found


def evaluation_description(table: AblationTable) -> str:
    """Return the description of the run of an evaluation with the `table`, in Markdown."""
    titles = ["model", *map(metric_label, table.metrics)]
    cells = [[row.method, *(value(row.estimates.get(metric)) for metric in table.metrics)] for row in table.rows]
    rows = table_lines(titles, cells, 1)
    return "\n".join(
        [
            *map(escape, evaluation_sentences(table)),
            "",
            escape(caption(table)),
            "",
            *cut_to_room(rows, "the others are in the report"),
        ]
    )


def write_evaluation_report(
    evaluation: Evaluation, table: AblationTable, name: str, run_id: str, command: str, folder: Path
) -> None:
    """Write the report of `evaluation`, whose table is `table`, into the empty `folder`.

    The files are those of a sweep's report. `name` is that of the MLflow experiment, `run_id` the evaluation's run, and
    `command` the command line that the user typed.
    """
    evidence = _evidence(evaluation, table, name, run_id, command)
    (slug,) = slugs([name])
    section = Section(
        slug, evidence, table, evaluation_sentences(table), draw(evidence, table, folder / "figures" / slug)
    )
    title = f"Evaluation: {evaluation.data}"
    (folder / "index.html").write_text(page([section], title), encoding="utf-8")
    (folder / "report.md").write_text(markdown([section], title), encoding="utf-8")
    tables = folder / "tables"
    tables.mkdir()
    (tables / f"{slug}.tex").write_text(latex(section), encoding="utf-8")
    write_rows(value_rows(table), tables, slug)
    write_rows(difference_rows(table), tables, f"{slug}{DIFFERENCES}")
    models = {model.name: {"title": model.title, **model.facts} for model in evaluation.models}
    (folder / "report.json").write_text(json.dumps({"made_by": "mdr-tune evaluate", "models": models}, indent=2) + "\n")


def _told(over_queries: str, over_classes: str) -> str:
    parts = [("queries", over_queries), ("classes", over_classes)]
    return "95 % over " + ", over ".join(f"{what} {text or 'none'}" for what, text in parts)


def _separated(over_classes: Interval | None) -> str:
    if over_classes is None or over_classes.low is None or over_classes.high is None:
        return "there is no interval over classes"
    apart = over_classes.low > 0 or over_classes.high < 0
    return "other classes would likely show it too" if apart else "other classes may show none, or the reverse"


def _title(evaluation: Evaluation, model: EvaluatedModel) -> str:
    """Return the title of `model`, which is unique in the `evaluation`."""
    is_unique = [other.title for other in evaluation.models].count(model.title) == 1
    return model.title if is_unique else f"{model.title} (model {model.name})"


def _in_order(evaluation: Evaluation) -> list[str]:
    """Return the names of all metrics: Recall@K by K, then the others in the order in which they were measured."""
    names = list(dict.fromkeys(key for model in evaluation.models for key in model.metrics))
    return sorted(names, key=lambda name: (recall_rank(name) is None, recall_rank(name) or 0))


def _per_query(details: TestDetails, metric: str) -> np.ndarray | None:
    """Return the value of `metric` for each query, (n,) in percent; None if it has none, or for no query."""
    try:
        values = details.per_query(metric.partition("/")[2])
    except ValueError:
        return None
    return None if np.isnan(values).all() else values


def _intervals(columns: Sequence[np.ndarray], labels: np.ndarray) -> list[tuple[Interval, Interval]]:
    """Return the intervals over queries and over classes of each of `columns`, arrays (n,) of values of n queries."""
    if not columns:
        return []
    values = np.stack(columns, axis=1)
    return list(zip(bootstrap_means(values), bootstrap_means(values, labels), strict=True))


def _estimates(model: EvaluatedModel, metrics: Sequence[str]) -> dict[str, Estimate]:
    known = [metric for metric in metrics if np.isfinite(model.metrics.get(metric, np.nan))]
    values = {metric: each for metric in known if (each := _per_query(model.details, metric)) is not None}
    found = dict(zip(values, _intervals(list(values.values()), model.details.labels), strict=True))
    estimates = {}
    for metric in known:
        none = Interval(model.metrics[metric], None, None, len(model.details.labels))
        over_queries, over_classes = found.get(metric, (none, None))
        kept = {**vars(over_queries), "mean": model.metrics[metric]}
        estimates[metric] = Estimate(**kept, over="queries", over_classes=over_classes)
    return estimates


def _differences(evaluation: Evaluation, model: EvaluatedModel, metrics: Sequence[str]) -> list[Difference]:
    first = evaluation.models[0]
    pairs = {metric: (_per_query(model.details, metric), _per_query(first.details, metric)) for metric in metrics}
    values = {metric: a - b for metric, (a, b) in pairs.items() if a is not None and b is not None}
    found = _intervals(list(values.values()), model.details.labels)
    return [
        Difference(
            baseline=first.name,
            label=_title(evaluation, first),
            estimate=Estimate(**vars(over_queries), over="queries", over_classes=over_classes),
            p=None,
            p_holm=None,
            verdict="not known",
            metric=metric,
        )
        for metric, (over_queries, over_classes) in zip(values, found, strict=True)
    ]


def _trial(evaluation: Evaluation, model: EvaluatedModel) -> RecordedTrial:
    record = TrialRecord(
        name=model.name,
        arm="model",
        number=int(model.name) - 1,
        parameters={},
        config={"seed": 0},
        outcome="completed",
        device=evaluation.device,
    )
    return RecordedTrial(record, model.run_id or "", dict(model.metrics))


def _evidence(evaluation: Evaluation, table: AblationTable, name: str, run_id: str, command: str) -> SweepEvidence:
    """Return `evaluation` in the form in which a report takes a sweep."""
    trials = [row.trials[0] for row in table.rows]
    commit = source()
    facts = SweepFacts(
        started=evaluation.started,
        ended=evaluation.ended,
        command=command,
        protocol=EVALUATION,
        sampler="",
        seeds=[],
        epochs=[],
        workers_per_trial=1,
        images={"evaluated": describe_data(evaluation), "content": evaluation.content},
        versions={"python": platform.python_version(), **{k: v for k, v in versions().items() if v is not None}},
        commit=None if commit is None else str(commit["commit"]) + (" + changes" if commit["dirty"] else ""),
        devices=[evaluation.device],
        sweep_file="",
    )
    sweep = SweepRecords(name, "", run_id, "FINISHED", table.metric, None, trials)
    return SweepEvidence(sweep, facts, {model.name: model.details for model in evaluation.models})
