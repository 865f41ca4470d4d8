"""The trials of a sweep beside each other: ranked, sorted, and as flat rows for other programs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mdr_tune.config.hints import meant_dotted
from mdr_tune.records.objectives import best_epoch_key, best_key, by_configuration, on_front
from mdr_tune.records.recorded_sweep import SEEDS_KEY, RecordedTrial, SweepRecords, mean_key, second_key
from mdr_tune.report.names import short_names
from mdr_tune.report.summary import metric_label
from mdr_tune.util.errors import UserError
from mdr_tune.util.registry import did_you_mean

Cell = str | float | int | bool | None
_HIGHER_FIRST = ("val/", "test/", "objective/", "time/images_per_s")


@dataclass(frozen=True)
class Entry:
    """One trial's line.

    Attributes:
        rank: By its value among those that have one; None without one, and for a further seed.
        trial: Its name.
        best: The best value of the sweep's metric, in percent.
        best_epoch: Where that was.
        mean: Over the seeds of its configuration, on the first seed's line.
        seeds: How many are in the mean.
        second: What the second objective came to.
        front: Whether it is on the Pareto front of the two.
        test: The sweep's metric on the test classes, if they were read for it.
        peak_gib: Peak memory of a worker.
        metrics: All of them, the last value of each.
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
    parameters: dict[str, Any]
    metrics: dict[str, float]

    @property
    def value(self) -> float | None:
        """What it is ranked by: the mean over its seeds, if there is one, else the best value."""
        return self.best if self.mean is None else self.mean


COLUMNS = [name for name in Entry.__dataclass_fields__ if name not in ("parameters", "metrics")]
TITLES = {
    "best_epoch": "at",
    "mean": "mean (n)",
    "images_per_s": "images/s",
    "epoch_s": "s/epoch",
    "peak_gib": "peak GiB",
}
"""How a terminal's table heads the columns that it does not head by their names; `sort` knows both."""


def leaderboard(sweep: SweepRecords, sort: str | None = None) -> list[Entry]:
    """Return a line for each trial, the best first; a further seed stands below the first one.

    Trials that diverged come last: they have no value.

    Args:
        sort: A column, by its name or title, a metric or a parameter to sort by instead; values that are better when
            high come highest first, all else ascending, what has none last.

    Raises:
        UserError: Nothing is called so.
    """
    points = [_point(sweep, trial) for trial in sweep.trials]
    front = on_front(points) if sweep.second_metric else [None] * len(points)
    entries = [_entry(sweep, trial, on) for trial, on in zip(sweep.trials, front, strict=True)]
    order = _ranked(sweep, entries)
    return order if sort is None else sorted(order, key=_sort_key(sort, entries, titles(sweep)))


def _ranked(sweep: SweepRecords, entries: list[Entry]) -> list[Entry]:
    by_name = {entry.trial: entry for entry in entries}
    groups = [[by_name[record.name] for record in group] for group in by_configuration(sweep.records).values()]
    groups.sort(key=lambda group: (group[0].outcome == "diverged", group[0].value is None, -(group[0].value or 0.0)))
    ordered: list[Entry] = []
    for rank, (first, *further) in enumerate(groups, 1):
        ordered += [Entry(**{**vars(first), "rank": rank if first.value is not None else None}), *further]
    return ordered


def _point(sweep: SweepRecords, trial: RecordedTrial) -> tuple[float, float] | None:
    best, second = _best(sweep, trial), _second(sweep, trial)
    return None if best is None or second is None else (best, second)


def _best(sweep: SweepRecords, trial: RecordedTrial) -> float | None:
    return trial.metrics.get(best_key(sweep.metric)) if trial.record.counts else None


def _second(sweep: SweepRecords, trial: RecordedTrial) -> float | None:
    if sweep.second_metric is None or not trial.record.counts:
        return None
    return trial.metrics.get(second_key(sweep.second_metric))


def _entry(sweep: SweepRecords, trial: RecordedTrial, on: bool | None) -> Entry:
    record, metrics = trial.record, trial.metrics
    best = _best(sweep, trial)
    seeds = metrics.get(SEEDS_KEY)
    return Entry(
        rank=None,
        trial=record.name,
        arm=record.arm,
        outcome=record.outcome.replace("_", " "),
        epochs=trial.epochs,
        best=best,
        best_epoch=None if best is None else int(metrics[best_epoch_key(sweep.metric)]),
        mean=metrics.get(mean_key(sweep.metric)) if record.counts else None,
        seeds=None if seeds is None else int(seeds),
        second=_second(sweep, trial),
        front=on,
        test=metrics.get("test/" + sweep.metric.split("/")[-1]),
        images_per_s=metrics.get("time/images_per_s"),
        epoch_s=metrics.get("time/epoch_s"),
        peak_gib=metrics.get("memory/peak_gib"),
        parameters=record.parameters
        if best is None
        else record.parameters_in(int(metrics[best_epoch_key(sweep.metric)])),
        metrics=metrics,
    )


def titles(sweep: SweepRecords) -> dict[str, str]:
    """Return how a terminal's table heads each column that it does not head by its name."""
    label = metric_label(sweep.metric)
    second = metric_label(sweep.second_metric or "").replace("images_per_s", TITLES["images_per_s"])
    return {**TITLES, **({"second": second} if second else {}), "best": label, "test": f"test {label}"}


def _sort_key(sort: str, entries: list[Entry], by_title: dict[str, str]) -> Callable[[Entry], tuple[bool, bool, Any]]:
    parameters = list(dict.fromkeys(key for entry in entries for key in entry.parameters))
    metrics = {key for entry in entries for key in entry.metrics}
    short = {name: key for key, name in short_names(parameters).items()}
    in_lower_case = {title.casefold(): name for name, title in by_title.items()}
    given, sort = sort, in_lower_case.get(sort.casefold().removeprefix("val "), sort)
    if sort in COLUMNS:
        higher_first = sort in ("best", "mean", "second", "front", "test", "images_per_s", "epochs", "seeds")
        return _keyed(lambda entry: getattr(entry, sort), higher_first)
    if sort in metrics:
        return _keyed(lambda entry: entry.metrics.get(sort), sort.startswith(_HIGHER_FIRST))
    key = sort if sort in parameters else short.get(sort)
    if key is not None:
        return _keyed(lambda entry: entry.parameters.get(key), higher_first=False)
    if sort.casefold() == "parameters":
        raise UserError(f"--sort {given}: that column has all of them: sort by one: {', '.join(parameters) or 'none'}")
    known = [*COLUMNS, *sorted(metrics), *parameters]
    last = {key.rpartition("/")[2]: key for key in sorted(metrics, reverse=True)}
    near = did_you_mean(sort, [*known, *short, *by_title.values()])
    hint = near or meant_dotted(sort, parameters) or (f" Did you mean {last[sort]!r}?" if sort in last else "")
    raise UserError(f"--sort {given}: nothing is called so.{hint} Known: {', '.join(known)}")


def _keyed(value: Callable[[Entry], Any], higher_first: bool) -> Callable[[Entry], tuple[bool, bool, Any]]:
    def key(entry: Entry) -> tuple[bool, bool, Any]:
        found = value(entry)
        missing = found is None
        if isinstance(found, int | float):
            return entry.outcome == "diverged", missing, (0, -found if higher_first else found, "")
        return entry.outcome == "diverged", missing, (1, 0, "" if missing else str(found))

    return key


def flat_rows(entries: list[Entry]) -> list[dict[str, Cell]]:
    """Return each line with a column for each value, parameter (`mdr.weight`) and metric (`train/loss`).

    A parameter with the name of a column is `trial.epochs`. All rows have the same columns; what a trial lacks is None,
    and a list or section is its text.
    """
    parameters = list(dict.fromkeys(key for entry in entries for key in entry.parameters))
    metrics = sorted({key for entry in entries for key in entry.metrics})
    return [
        {
            **{name: getattr(entry, name) for name in COLUMNS},
            **{f"trial.{key}" if key in COLUMNS else key: _cell(entry.parameters.get(key)) for key in parameters},
            **{key: entry.metrics.get(key) for key in metrics},
        }
        for entry in entries
    ]


def _cell(value: Any) -> Cell:
    return value if isinstance(value, str | int | float | None) else str(value)


def budget_note(entries: list[Entry]) -> str | None:
    """Return the sentence that says that trials had different numbers of epochs, if they had."""
    epochs = [entry.epochs for entry in entries if entry.best is not None]
    if len(set(epochs)) < 2:
        return None
    early = sum(entry.outcome == "stopped early" for entry in entries)
    why = f"{early} stopped early" if early else "some still run or failed"
    return (
        f"Trials had {min(epochs)} to {max(epochs)} epochs ({why}): a value after few epochs says what the trial had "
        "then, not what it would have come to."
    )
