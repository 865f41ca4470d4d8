"""The leaderboard of a sweep: its trials, ranked or sorted. `flat_rows` returns it as a table for other programs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mdr_tune.config.hints import meant_dotted
from mdr_tune.records.metrics import larger_is_better, metric_label
from mdr_tune.records.objectives import on_front
from mdr_tune.records.recorded_sweep import RecordedTrial, SweepRecords, second_key
from mdr_tune.records.trial_record import standing
from mdr_tune.report.names import short_names, test_key
from mdr_tune.report.output.data_files import Rows, cell
from mdr_tune.report.rows import best_of, best_parameters, rows_of, said_outcome
from mdr_tune.util.errors import UserError
from mdr_tune.util.nearest_name import did_you_mean

_HIGHER_FIRST = ("val/", "test/", "objective/", "time/images_per_s")
_HIGHER_COLUMNS = ("best", "mean", "second", "front", "test", "images_per_s", "epochs", "seeds")


@dataclass(frozen=True)
class Line:
    """A line of the leaderboard, which is about one trial.

    A row, which is one configuration with its seeds, has a line for each seed.

    Attributes:
        rank: Rank of the row, from 1. None if the trial is not the row's first seed, or if the row has no value.
        best: Best value of the sweep's metric, in percent; None without a value.
        best_epoch: Epoch of the best value.
        mean: Mean of the best values of the row's seeds that ran to their end. None if the trial is not the row's first
            seed, or if the row has one seed only.
        seeds: Number of seeds in `mean`; None without a mean.
        second: Value of the second objective; None with one objective.
        front: Whether the trial is on the Pareto front of the two objectives; None with one objective.
        test: Value of the sweep's metric on the test classes; None if the trial was not evaluated on them.
        peak_gib: Peak memory of a worker, in GiB.
        run_id: Id of the trial's MLflow run.
        parameters: Parameters that the best epoch was trained with, by dotted key.
        metrics: Last value of each metric, by name.
    """

    rank: int | None
    trial: str
    arm: str
    outcome: str
    epochs: int
    best: float | None
    best_epoch: int | None
    mean: float | None
    seeds: int | None
    second: float | None
    front: bool | None
    test: float | None
    images_per_s: float | None
    epoch_s: float | None
    peak_gib: float | None
    run_id: str
    parameters: dict[str, Any]
    metrics: dict[str, float]


COLUMNS = [name for name in Line.__dataclass_fields__ if name not in ("parameters", "metrics")]
TITLES = {
    "best_epoch": "at",
    "mean": "mean (n)",
    "images_per_s": "images/s",
    "epoch_s": "s/epoch",
    "peak_gib": "peak GiB",
    "run_id": "run",
}
"""Title of each column whose title in the terminal's table differs from its name. `--sort` accepts both."""


def leaderboard(sweep: SweepRecords, sort: str | None = None) -> list[Line]:
    """Return a line for each trial of `sweep`, the best row first. The further seeds of a row follow its first seed.

    If the sweep chooses finalists, rows with a mean over several seeds come before all others.
    Lines are in the order of rank, or sorted by `sort`: the name or title of a column, or the name of a metric or a
    parameter (UserError if it is none of these). Values that are better when high are in descending order, all others
    in ascending order. Lines without a value and trials that diverged come last.
    """
    by_name = {trial.record.name: _line(sweep, trial) for trial in sweep.trials}
    if sweep.second_metric:
        both = [(line.best, line.second) for line in by_name.values()]
        points = [None if best is None or second is None else (best, second) for best, second in both]
        by_name = {name: replace(by_name[name], front=on) for name, on in zip(by_name, on_front(points), strict=True)}
    rows = rows_of(sweep.trials, sweep.metric)
    values = {row.name: row.value if row.first.counts else None for row in rows}
    rows.sort(key=lambda row: standing(values[row.name], sweep.finalists), reverse=True)
    rows.sort(key=lambda row: not row.first.counts)
    ranked: list[Line] = []
    for rank, row in enumerate(rows, 1):
        first, *further = (by_name[trial.record.name] for trial in row.trials)
        mean, seeds = row.mean if row.mean is not None and further and row.first.counts else (None, None)
        place = None if values[row.name] is None else rank
        ranked += [replace(first, rank=place, mean=mean, seeds=seeds), *further]
    return ranked if sort is None else sorted(ranked, key=_sort_key(sort, list(by_name.values()), titles(sweep)))


def _line(sweep: SweepRecords, trial: RecordedTrial) -> Line:
    record, metrics = trial.record, trial.metrics
    best, best_epoch = best_of(trial, sweep.metric) or (None, None)
    has_second = sweep.second_metric is not None and record.counts
    return Line(
        rank=None,
        trial=record.name,
        arm=record.arm,
        outcome=said_outcome(record.outcome),
        epochs=trial.epochs,
        best=best,
        best_epoch=best_epoch,
        mean=None,
        seeds=None,
        second=metrics.get(second_key(sweep.second_metric or "")) if has_second else None,
        front=None,
        test=metrics.get(test_key(sweep.metric)),
        images_per_s=metrics.get("time/images_per_s"),
        epoch_s=metrics.get("time/epoch_s"),
        peak_gib=metrics.get("memory/peak_gib"),
        run_id=trial.run_id,
        parameters=best_parameters(trial, sweep.metric),
        metrics=metrics,
    )


def titles(sweep: SweepRecords) -> dict[str, str]:
    """Return the titles of the leaderboard's columns for `sweep`, by name, but not of columns titled by their name."""
    label = metric_label(sweep.metric)
    second = metric_label(sweep.second_metric or "")
    return {**TITLES, **({"second": second} if second else {}), "best": label, "test": f"test {label}"}


def _sort_key(sort: str, lines: list[Line], by_title: dict[str, str]) -> Callable[[Line], tuple[bool, bool, Any]]:
    parameters = list(dict.fromkeys(key for line in lines for key in line.parameters))
    metrics = {key for line in lines for key in line.metrics}
    short = {name: key for key, name in short_names(parameters).items()}
    in_lower_case = {title.casefold(): name for name, title in by_title.items()}
    given, sort = sort, in_lower_case.get(sort.casefold().removeprefix("val "), sort)
    if sort in COLUMNS:
        return _keyed(lambda line: getattr(line, sort), sort in _HIGHER_COLUMNS)
    if sort in metrics:
        return _keyed(lambda entry: entry.metrics.get(sort), larger_is_better(sort))
    key = sort if sort in parameters else short.get(sort)
    if key is not None:
        return _keyed(lambda line: line.parameters.get(key), higher_first=False)
    if sort.casefold() == "parameters":
        raise UserError(f"--sort {given}: that column has all of them: sort by one: {', '.join(parameters) or 'none'}")
    known = [*COLUMNS, *sorted(metrics), *parameters]
    last = {key.rpartition("/")[2]: key for key in sorted(metrics, reverse=True)}
    near = did_you_mean(sort, [*known, *short, *by_title.values()])
    hint = near or meant_dotted(sort, parameters) or (f" Did you mean {last[sort]!r}?" if sort in last else "")
    raise UserError(f"--sort {given}: nothing is called so.{hint} Known: {', '.join(known)}")


def _keyed(value: Callable[[Line], Any], higher_first: bool) -> Callable[[Line], tuple[bool, bool, Any]]:
    def key(line: Line) -> tuple[bool, bool, Any]:
        found = value(line)
        missing = found is None
        if isinstance(found, int | float):
            return line.outcome == "diverged", missing, (0, -found if higher_first else found, "")
        return line.outcome == "diverged", missing, (1, 0, "" if missing else str(found))

    return key


def flat_rows(lines: list[Line]) -> Rows:
    """Return `lines` as rows for CSV, JSON or Parquet, with all parameters (`mdr.weight`) and metrics (`train/loss`).

    All rows have the same columns; a missing value is None. A parameter that has the name of a leaderboard column gets
    a prefix: `trial.epochs`.
    """
    parameters = list(dict.fromkeys(key for line in lines for key in line.parameters))
    metrics = sorted({key for line in lines for key in line.metrics})
    return [
        {
            **{name: getattr(line, name) for name in COLUMNS},
            **{f"trial.{key}" if key in COLUMNS else key: cell(line.parameters.get(key)) for key in parameters},
            **{key: line.metrics.get(key) for key in metrics},
        }
        for line in lines
    ]


def budget_note(lines: list[Line]) -> str | None:
    """Return a warning if the trials of `lines` had different numbers of epochs; None if all had the same number."""
    epochs = [line.epochs for line in lines if line.best is not None]
    if len(set(epochs)) < 2:
        return None
    early = sum(line.outcome == "stopped early" for line in lines)
    why = f"{early} stopped early" if early else "some still run or failed"
    return (
        f"Trials had {min(epochs)} to {max(epochs)} epochs ({why}): a value after few epochs says what the trial had "
        "then, not what it would have come to."
    )
