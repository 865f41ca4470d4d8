"""When a search ends before its trials are used up: budgets of time and GPU hours, a target, no progress."""

import time
from collections.abc import Callable

from mdr_tune.config.arms import Arm
from mdr_tune.config.stop import StopConfig
from mdr_tune.records import TrialRecord
from mdr_tune.words import duration


class StopRules:
    """Says whether an arm's search should end. A listener of the sweep.

    Args:
        config: The rules.
        arms: All arms, in order: a budget is shared among them by their trials, and what one leaves the next ones have.
        metric: The sweep's.
        gpus_per_trial: For the GPU hours.
        used_s: Wall time that earlier sessions of the sweep took.
        clock: Seconds, from any start.
    """

    def __init__(
        self,
        config: StopConfig,
        arms: list[Arm],
        metric: str,
        gpus_per_trial: int,
        used_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._metric, self._gpus_per_trial = config, metric, gpus_per_trial
        self._clock, self._began = clock, clock() - used_s
        total = sum(arm.trials for arm in arms)
        shares = [arm.trials / total for arm in arms]
        self._share_until = {arm.name: sum(shares[: i + 1]) for i, arm in enumerate(arms)}
        self._gpu_s = 0.0
        self._best: dict[str, float] = {}
        self._without_progress: dict[str, int] = {}

    def past(self, records: list[TrialRecord]) -> None:
        """Take in the trials of earlier sessions, in the order in which they ended."""
        for record in records:
            self._gpu_s += self._gpus_per_trial * sum(epoch.get("time/epoch_s", 0.0) for epoch in record.history)
            if record.ended:
                self.trial_ended(record)

    def trial_started(self, record: TrialRecord) -> None:
        """Nothing to count."""

    def epoch_finished(self, record: TrialRecord) -> None:
        """Count the GPU time."""
        self._gpu_s += self._gpus_per_trial * record.history[-1].get("time/epoch_s", 0.0)

    def trial_noted(self, record: TrialRecord) -> None:
        """Nothing to count."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Count the trials without a new best. Further seeds of a configuration are none of them."""
        if not record.ended or record.seed_index > 0:
            return
        best = record.best(self._metric)
        if best is not None and best[0] > self._best.get(record.arm, float("-inf")):
            self._best[record.arm] = best[0]
            self._without_progress[record.arm] = 0
        else:
            self._without_progress[record.arm] = self._without_progress.get(record.arm, 0) + 1

    def out_of_budget(self, arm: str) -> str | None:
        """Say why the trials that run should be stopped now, if they should."""
        share = self._share_until[arm]
        limit = self._config.time
        if limit is not None and self._clock() - self._began >= share * limit:
            return f"the time budget of {duration(limit)} is used up"
        hours = self._config.gpu_hours
        if hours is not None and self._gpu_s >= share * hours * 3600:
            return f"the budget of {hours:g} GPU hours is used up"
        return None

    def closed(self, arm: str) -> str | None:
        """Say why no further trial should be started, if so."""
        target, patience = self._config.target, self._config.patience
        if target is not None and self._best.get(arm, float("-inf")) >= target:
            return f"the target of {target:g} is reached"
        if patience is not None and self._without_progress.get(arm, 0) >= patience:
            return f"no new best in {patience} trials"
        return self.out_of_budget(arm)
