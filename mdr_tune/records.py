"""What is known of each trial while a sweep runs: the one thing that tracking, the status line and the report read."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Outcome = Literal["running", "completed", "stopped_early", "failed", "killed"]


@dataclass
class TrialRecord:
    """One trial, from its start on.

    Attributes:
        trial_id: Unique in the sweep.
        name: For people: the arm and a number.
        arm: The main arm's name, or that of a baseline.
        parameters: The sampled values, by dotted key.
        config: The whole trial, nested, as `TrialConfig` takes it.
        history: The metrics of each epoch.
        error: The traceback, if it failed.
        checkpoints: Checkpoint folder of each epoch that is kept.
    """

    trial_id: str
    name: str
    arm: str
    parameters: dict[str, Any]
    config: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)
    outcome: Outcome = "running"
    error: str | None = None
    checkpoints: dict[int, str] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    def best(self, metric: str) -> tuple[float, int] | None:
        """Return the highest value of `metric` and its epoch, the last among equals; None before the first epoch."""
        values = [(epoch[metric], int(epoch["epoch"])) for epoch in self.history if metric in epoch]
        return max(values, default=None)


class SweepListener(Protocol):
    """Is told what happens in a sweep, in order, on the driver."""

    def trial_started(self, record: TrialRecord) -> None:
        """A trial got its parameters and begins."""

    def epoch_finished(self, record: TrialRecord) -> None:
        """The last entry of `record.history` is new."""

    def trial_ended(self, record: TrialRecord) -> None:
        """`record.outcome` is final."""


def best_record(records: list[TrialRecord], metric: str) -> TrialRecord | None:
    """Return the record with the highest `metric` at any of its epochs; the one that started first among equals."""
    scored = [record for record in records if record.best(metric) is not None]
    return max(scored, key=lambda record: (record.best(metric) or (float("-inf"), 0))[0], default=None)


@dataclass
class SweepResult:
    """What a sweep found.

    Attributes:
        records: All trials, in the order in which they started.
        best: The best trial of each arm that has one, by the sweep's metric on validation.
        test: Test metrics of those.
        interrupted: The user stopped it before all trials were done.
        main_arm: Name of the search that the file describes; the other arms are its baselines.
        shows_all: Every trial is a row of the result, not the best alone: a grid.
    """

    metric: str
    records: list[TrialRecord] = field(default_factory=list)
    best: dict[str, TrialRecord] = field(default_factory=dict)
    test: dict[str, dict[str, float]] = field(default_factory=dict)
    interrupted: bool = False
    main_arm: str = "mdr"
    shows_all: bool = False

    @property
    def winner(self) -> TrialRecord | None:
        """The best trial of all arms on validation."""
        return best_record(list(self.best.values()), self.metric)
