"""Write the values, differences and trials of a report as CSV and Parquet tables.

Numbers are not rounded, so that the values and differences can be recomputed from the trials. Each row is one
observation, so that any program can group and filter the rows.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.output.texts import differences_of
from mdr_tune.report.rows import AblationTable, Estimate, Row

Cell = str | int | float | None
Rows = list[dict[str, Cell]]


def value_rows(table: AblationTable) -> Rows:
    """Return a row for each configuration and metric of `table`: mean, 95 % interval, number of seeds or queries."""
    return [
        {**_of(table, row), "metric": metric, **_estimate(row.estimates[metric])}
        for row in table.rows
        for metric in table.metrics
        if metric in row.estimates
    ]


def difference_rows(table: AblationTable) -> Rows:
    """Return a row for each difference to a baseline in `table`, in points, with its p-values and its verdict."""
    return [
        {
            **_of(table, row),
            "metric": difference.metric or table.metric,
            "baseline": difference.baseline,
            "baseline_method": difference.label,
            **_estimate(difference.estimate),
            "p": difference.p,
            "p_holm": difference.p_holm,
            "verdict": difference.verdict,
        }
        for row, difference in differences_of(table)
    ]


def trial_rows(evidence: SweepEvidence, table: AblationTable) -> Rows:
    """Return a row for each trial of `evidence`, with its sampled parameters and all of its metrics.

    Trials of configurations that `table` does not show are included. All rows have the same columns, and a missing
    value is None. The columns are named like `parameter:embedding.size` for a parameter, and `test/recall_at_1` for a
    metric.
    """
    shown = {trial.record.name: row for row in table.rows for trial in row.trials}
    parameters = list(dict.fromkeys(key for record in evidence.sweep.records for key in record.parameters))
    metrics = sorted({key for trial in evidence.sweep.trials for key in trial.metrics})
    rows: Rows = []
    for trial in evidence.sweep.trials:
        record, row = trial.record, shown.get(trial.record.name)
        rows.append(
            {
                "sweep": table.sweep,
                "trial": record.name,
                "run_id": trial.run_id,
                "configuration": record.config_name,
                "method": row.method if row else None,
                "setting": row.setting if row else None,
                "arm": record.arm,
                "seed": record.seed,
                **({} if evidence.facts.folds is None else {"fold": record.fold}),
                "outcome": record.outcome,
                "epochs": trial.epochs,
                **{f"parameter:{key}": cell(record.parameters.get(key)) for key in parameters},
                **{key: trial.metrics.get(key) for key in metrics},
            }
        )
    return rows


def _of(table: AblationTable, row: Row) -> dict[str, Cell]:
    return {
        "sweep": table.sweep,
        "data": table.data,
        "protocol": table.protocol,
        "configuration": row.name,
        "method": row.method,
        "setting": row.setting,
    }


def _estimate(estimate: Estimate) -> dict[str, Cell]:
    classes = estimate.over_classes
    found = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "n": estimate.n, "over": estimate.over}
    more = {} if classes is None else {"low_over_classes": classes.low, "high_over_classes": classes.high}
    return {**found, **more}


def cell(value: Any) -> Cell:
    """Return `value` as a table stores it. A list or a section of the configuration becomes text."""
    return value if isinstance(value, str | int | float | None) else str(value)


def csv_text(rows: Rows, columns: Sequence[str] = ()) -> str:
    """Return `rows` as CSV. Without rows, return only a line with the titles in `columns`, if there are any."""
    titles = list(rows[0]) if rows else columns
    file = io.StringIO()
    if titles:
        writer = csv.DictWriter(file, titles, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return file.getvalue()


def write_parquet(rows: Rows, file: Path) -> None:
    """Write `rows` as Parquet to `file`. A column with both text and numbers is stored as text."""
    import pyarrow
    import pyarrow.parquet

    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}
    for name, values in columns.items():
        if any(isinstance(value, str) for value in values):
            columns[name] = [None if value is None else str(value) for value in values]
    with file.open("wb") as opened:  # pyarrow takes no path that is not UTF-8
        pyarrow.parquet.write_table(pyarrow.table(columns), opened)


def write_rows(rows: Rows, folder: Path, name: str) -> list[Path]:
    """Write `rows` into `folder` as `name.csv` and `name.parquet` and return both. Without rows, write nothing."""
    if not rows:
        return []
    as_csv, as_parquet = folder / f"{name}.csv", folder / f"{name}.parquet"
    as_csv.write_text(csv_text(rows), encoding="utf-8", newline="")
    write_parquet(rows, as_parquet)
    return [as_csv, as_parquet]
