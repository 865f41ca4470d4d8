"""Trials at the same budget: what each was worth after as many epochs as the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.util.words import count

MIN_TRIALS = 8
"""Fewer say little about a parameter."""


class TooFewTrials(ValueError):  # noqa: N818 - a sentence about the trials
    """There are not enough trials at a comparable budget; the text says what is missing."""


@dataclass(frozen=True)
class AtBudget:
    """Trials of one arm after the same number of epochs.

    Attributes:
        epochs: The budget.
        longest: The epochs of a trial that ran to its end.
        records: The trials that had at least so many, in the order in which they started.
        values: For each, the objectives within that budget: the best value of the first, and the second there.
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
    """Return the trials of an arm that can be compared: their best within the first `epochs` epochs.

    First seeds only, as one that survived has more seeds than the others. Not those that diverged. A trial that
    population based training changed counts up to that epoch: afterwards its numbers are not of its parameters alone.

    Args:
        metrics: One or two objectives.
        epochs: The budget; unless given, as many as a whole trial has, or the most that `at_least` trials had.
        arm: That of the first trial, the main search, unless given.
        at_least: Trials that are wanted.

    Raises:
        TooFewTrials: There are fewer.
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
    """Return the objectives of a trial as if it had ended after `epochs`."""
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
