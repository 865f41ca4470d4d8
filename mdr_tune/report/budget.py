"""Compare trials at the same budget: the best value of each trial within the same number of epochs."""

from collections.abc import Sequence
from dataclasses import dataclass

from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.util.words import count

MIN_TRIALS = 8
"""Smallest number of trials that are compared. Fewer trials say little about a parameter."""


class TooFewTrials(ValueError):  # noqa: N818 - a sentence about the trials
    """Error: too few trials were trained for enough epochs to be compared. The text says what is missing."""


@dataclass(frozen=True)
class AtBudget:
    """Trials of one arm, compared after the same number of epochs. This number is the budget.

    Attributes:
        epochs: Budget, in epochs.
        longest: Number of epochs of a trial that runs to its end.
        records: Trials that reached the budget, in the order in which they started.
        values: Objectives of each trial in `records` over the first `epochs` epochs, see `TrialRecord.objectives`.
    """

    arm: str
    epochs: int
    longest: int
    records: list[TrialRecord]
    values: list[list[float]]


def at_budget(
    records: Sequence[TrialRecord],
    metrics: Sequence[str],
    epochs: int | None = None,
    arm: str | None = None,
    at_least: int = MIN_TRIALS,
) -> AtBudget:
    """Return the trials of an arm that can be compared, with their best values within the first `epochs` epochs.

    Only first seeds are compared, because only some configurations have further seeds. Trials that diverged are left
    out. A trial that population based training changed counts up to its first change, because its later values are not
    due to its parameters alone.

    Args:
        records: Trials of the sweep, in the order in which they started.
        metrics: Names of one or two objectives.
        epochs: Budget; by default the largest number of epochs that `at_least` trials reached.
        arm: Name of the arm; by default the arm of the first trial, which is the main one.
        at_least: Smallest number of trials to compare. With fewer trials, TooFewTrials is raised.
    """
    arm = arm or (records[0].arm if records else "")
    usable = [record for record in records if record.arm == arm and record.seed_index == 0 and record.counts]
    reached = {record.name: _unchanged_epochs(record, metrics[0]) for record in usable}
    longest = max([*(int(record.config.get("epochs", 0)) for record in usable), *reached.values(), 0])
    had = sorted(reached.values(), reverse=True)
    budget = epochs if epochs is not None else had[at_least - 1] if len(had) >= at_least else 0
    kept = [record for record in usable if budget and reached[record.name] >= budget]
    compared = [(record, values) for record in kept if (values := _within(record, budget, metrics)) is not None]
    if len(compared) < at_least:
        raise TooFewTrials(_what_is_missing(arm, had, epochs, at_least))
    return AtBudget(arm, budget, longest, [r for r, _ in compared], [values for _, values in compared])


def _unchanged_epochs(record: TrialRecord, metric: str) -> int:
    epochs = [int(epoch["epoch"]) for epoch in record.history if metric in epoch]
    first_change = min((change.epoch for change in record.changes), default=None)
    return max((epoch for epoch in epochs if first_change is None or epoch <= first_change), default=0)


def _within(record: TrialRecord, epochs: int, metrics: Sequence[str]) -> list[float] | None:
    """Return `record.objectives(metrics)` as it was after the first `epochs` epochs; None if a value is missing."""
    cut = [epoch for epoch in record.history if epoch["epoch"] <= epochs]
    ended = TrialRecord(
        record.name, record.arm, record.number, record.parameters, record.config, record.seed_index, history=cut
    )
    return ended.objectives(metrics)


def _what_is_missing(arm: str, had: list[int], epochs: int | None, at_least: int) -> str:
    wanted = f"{count(epochs, 'epoch')} or more" if epochs else "an epoch or more"
    there = sum(reached >= (epochs or 1) for reached in had)
    text = f"{count(there, 'trial')} of the search {arm} had {wanted}, {at_least} are needed"
    lower = had[at_least - 1] if len(had) >= at_least else 0
    if epochs and lower:
        return f"{text}: at least {at_least} had {count(lower, 'epoch')} (--epochs {lower})"
    return f"{text}: search more trials"
