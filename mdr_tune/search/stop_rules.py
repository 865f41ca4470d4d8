"""Decide when an arm's search ends early: a budget is used up, the target is reached, or there is no progress."""

import math
import time
from collections.abc import Callable

from mdr_tune.config.arms import Arm
from mdr_tune.config.stop import StopConfig
from mdr_tune.records.trial_record import TrialRecord, mean_over_seeds
from mdr_tune.util.words import count, duration


class StopRules:
    """Listener of a sweep that decides, from the events that it receives, whether the search of an arm should end.

    Args:
        config: Budgets, target and patience.
        arms: All arms, in the order in which they are searched. When the search of an arm begins, the arm gets a share
            of the remaining budget: its number of trials, divided by the number of trials of all arms from it on.
        metric: Name of the metric to which the target and the progress refer.
        gpus_per_trial: Number of GPUs that a trial uses. GPU hours are computed from it.
        seeds_per_trial: Number of training seeds of a surviving configuration. The value of the configuration is the
            mean over these seeds. 1 if only finalists get further seeds: then the first seeds decide alone.
        used_s: Wall time of the earlier sessions of the sweep, in seconds.
        every_seed: Whether every configuration gets all seeds, even if its first seed does not run to its end.
        clock: Function that returns a monotonic time in seconds.
    """

    def __init__(
        self,
        config: StopConfig,
        arms: list[Arm],
        metric: str,
        gpus_per_trial: float,
        seeds_per_trial: int = 1,
        used_s: float = 0.0,
        every_seed: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._metric, self._gpus_per_trial = config, metric, gpus_per_trial
        self._arms, self._seeds_per_trial, self._every_seed = arms, seeds_per_trial, every_seed
        self._clock, self._began = clock, clock() - used_s
        self._gpu_s = 0.0
        self._time_until: dict[str, float] = {}
        self._gpu_until: dict[str, float] = {}
        self._seeds: dict[str, list[TrialRecord]] = {}
        self._best: dict[str, float] = {}
        self._without_progress: dict[str, int] = {}

    @property
    def limits_time(self) -> bool:
        """Whether the sweep has a time budget."""
        return self._config.time is not None

    def past(self, records: list[TrialRecord]) -> None:
        """Count the trials of earlier sessions. In `records`, ended trials must come first, in order of their ends."""
        for record in records:
            self._gpu_s += self._gpus_per_trial * sum(epoch.get("time/epoch_s", 0.0) for epoch in record.history)
            if record.ended:
                self.trial_ended(record)

    def begin(self, arm: str) -> None:
        """Give `arm`, whose search begins now, its share of the remaining budgets."""
        names = [other.name for other in self._arms]
        left = self._arms[names.index(arm) :]
        share = left[0].trials / sum(other.trials for other in left)
        if self._config.time is not None:
            used = self._clock() - self._began
            self._time_until[arm] = used + share * (self._config.time - used)
        if self._config.gpu_hours is not None:
            self._gpu_until[arm] = self._gpu_s + share * (3600 * self._config.gpu_hours - self._gpu_s)

    def trial_started(self, record: TrialRecord) -> None:
        """Do nothing: no rule depends on the start of a trial."""

    def epoch_finished(self, record: TrialRecord) -> None:
        """Add the GPU time of the last epoch of `record` to the GPU time used."""
        self._gpu_s += self._gpus_per_trial * record.history[-1].get("time/epoch_s", 0.0)

    def trial_noted(self, record: TrialRecord) -> None:
        """Do nothing: no rule depends on notes."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Update the arm's best value, and the number of configurations in a row without a new best value.

        The configuration of `record` is counted when all of its seeds have ended; at once if it gets no further seeds,
        because its first one did not run to its end. The further seeds of finalists do not count.
        """
        if not record.ended or record.seed_index >= self._seeds_per_trial:
            return
        seeds = self._seeds.setdefault(record.config_name, [])
        seeds.append(record)
        gets_all_seeds = self._every_seed or seeds[0].outcome == "completed"
        if gets_all_seeds and len(seeds) < self._seeds_per_trial:
            return
        found = mean_over_seeds(seeds, self._metric) or seeds[0].best(self._metric)
        if found is not None and found[0] > self._best.get(record.arm, -math.inf):
            self._best[record.arm] = found[0]
            self._without_progress[record.arm] = 0
        else:
            self._without_progress[record.arm] = self._without_progress.get(record.arm, 0) + 1

    def out_of_budget(self, arm: str) -> str | None:
        """Return the reason why the running trials of `arm` should be stopped now; None if they should go on."""
        if self._clock() - self._began >= self._time_until.get(arm, math.inf):
            return f"its share of the time budget of {duration(self._config.time or 0)} is used up"
        if self._gpu_s >= self._gpu_until.get(arm, math.inf):
            return f"its share of the budget of {self._config.gpu_hours:g} GPU hours is used up"
        return None

    def closed(self, arm: str) -> str | None:
        """Return the reason why no further trial of `arm` should be started; None if more may be started."""
        target, patience = self._config.target, self._config.patience
        if target is not None and self._best.get(arm, -math.inf) >= target:
            return f"the target of {target:g} is reached"
        if patience is not None and self._without_progress.get(arm, 0) >= patience:
            return f"no new best in {count(patience, 'trial')}"
        return self.out_of_budget(arm)
