"""The description of a sweep that is not over: how far it is, the best so far, what failed."""

import datetime
from collections.abc import Sequence

from mdr_tune.records.objectives import chosen_on
from mdr_tune.records.trial_record import Outcome, SweepResult, TrialRecord
from mdr_tune.report.summary import (
    configuration_values,
    metric_label,
    said_parameters,
    table_rows,
    value_titles,
)
from mdr_tune.report.trial_table import trial_table
from mdr_tune.util.words import count

NAMED = 5
"""Trials whose names are told."""
_FAILURES: tuple[Outcome, ...] = ("failed", "diverged")


def best_so_far(records: Sequence[TrialRecord], metric: str) -> dict[str, TrialRecord]:
    """Return the first seed of the best configuration of each arm that has a value, by the mean over the seeds that
    ran to their end; the one that started first among equals."""
    values = configuration_values(records, metric)
    found: dict[str, TrialRecord] = {}
    for record in records:
        if record.seed_index or record.name not in values:
            continue
        best = found.get(record.arm)
        if best is None or values[record.name][0] > values[best.name][0]:
            found[record.arm] = record
    return found


def running_markdown(result: SweepResult, total: int, doing: str, now: datetime.datetime, head: str = "Running") -> str:
    """Return the description of the parent run while the sweep runs, or of one that was cut off.

    Args:
        result: So far; `best` as `best_so_far` returns it.
        total: Trials that the sweep has if nothing ends it early.
        doing: What it does now, in words.
        now: The time that the description says it is of.
        head: What the sweep is, in a word: `Running`, `Interrupted`, `Failed`.
    """
    done = sum(record.ended for record in result.records)
    lines = [f"### {head}: {done} of {count(max(total, done), 'trial')} done", ""]
    lines += [f"- As of {now:%Y-%m-%d %H:%M}: {doing}.", f"- {_best(result)}"]
    lines += [f"- {sentence}" for outcome in _FAILURES if (sentence := _failures(result.records, outcome))]
    rows = table_rows(result)
    return "\n".join([*lines, "", *(trial_table(rows, *value_titles(result.metric)) if rows else [])])


def _best(result: SweepResult) -> str:
    winner, values = result.winner, configuration_values(result.records, result.metric)
    if winner is None:
        return "No trial has a value yet."
    value, seeds = values[winner.name]
    parameters = said_parameters(result.records, result.metric)[winner.name] or "the file as it is"
    of = f" in the mean of {seeds} seeds" if seeds > 1 else ""
    split = chosen_on(result.metric)
    return f"Best so far: {winner.name} ({parameters}), {split} {metric_label(result.metric)} {value:.2f}{of}."


def _failures(records: Sequence[TrialRecord], outcome: Outcome) -> str | None:
    names = [record.name for record in records if record.outcome == outcome]
    if not names:
        return None
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return f"{count(len(names), 'trial')} {outcome}: {', '.join(names[:NAMED] + more)}."
