"""Trials that wait for each other: each pauses at a rung, and once all of its group stand there, it is decided.

Tune's own HyperBand and synchronous PBT decide when the last running trial reports. Then others may still be writing
their checkpoints, a group may not be complete yet, and ties and random draws follow the order of arrival. Here a
group passes a rung only when it is complete and all of its trials are paused, their checkpoints written, and the
decision is a function of the values alone. It is the same however many lanes there are, and when it is replayed.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ray.tune.experiment import Trial

from mdr_tune.lanes.ray_seams import live_trials
from mdr_tune.search.schedulers.lane_scheduler import BUSY, LaneScheduler


@dataclass
class Group:
    """Trials that wait for each other.

    Attributes:
        size: Trials that it takes at most.
        rungs: The epochs after which they wait; ascending.
        added: Trials that it got so far.
        trials: Those that have not ended, by name.
        passed: Rungs that lie behind them.
        values: The metric of those that stand at the next rung, by name.
    """

    size: int
    rungs: list[int]
    added: int = 0
    trials: dict[str, Trial] = field(default_factory=dict)
    passed: int = 0
    values: dict[str, float] = field(default_factory=dict)

    @property
    def next_rung(self) -> int | None:
        """The epoch after which they wait next; None if they run to their end."""
        return self.rungs[self.passed] if self.passed < len(self.rungs) else None

    @property
    def ranking(self) -> list[str]:
        """Names of those at the rung, the best first; among equals the first by name."""
        return sorted(self.values, key=lambda name: (-self.values[name], name))

    @property
    def all_wait(self) -> bool:
        """Whether all that live stand at the rung, with their checkpoints written."""
        waiting = (name in self.values and trial.status == Trial.PAUSED for name, trial in self.trials.items())
        return bool(self.trials) and all(waiting)


class RungScheduler(LaneScheduler, ABC):
    """Pauses trials at the rungs of their group. A trial that ends, however it does, is not waited for.

    Args:
        num_lanes: Trials that can run side by side.
        ends: Numbers of trials at which the search ended, or will: before each extension, and now. No group goes beyond
            one, so that an extended search decides of its first trials as it did.
    """

    def __init__(self, num_lanes: int, ends: Iterable[int]) -> None:
        super().__init__(num_lanes)
        self._ends = set(ends)
        self._groups: list[Group] = []
        self._group_of: dict[str, Group] = {}

    @abstractmethod
    def _new_group(self) -> Group:
        """Return the next group that trials are put into."""

    @abstractmethod
    def _pass_rung(self, group: Group, epoch: int, tune_controller: Any) -> None:
        """Decide what becomes of a group all of whose trials stand at `epoch`; those that live go on."""

    def _is_complete(self, group: Group) -> bool:
        return group is not self._groups[-1] or group.added == group.size or len(self._group_of) in self._ends

    def _added(self, trial: Trial) -> None:
        if not self._groups or self._is_complete(self._groups[-1]):
            self._groups.append(self._new_group())
        group = self._group_of[trial.trial_id] = self._groups[-1]
        group.added += 1
        group.trials[trial.trial_id] = trial

    def _returned(self, trial: Trial) -> None:
        self._group_of[trial.trial_id].trials[trial.trial_id] = trial

    def _decide(self, trial: Trial, epoch: int, value: float) -> str:
        group = self._group_of[trial.trial_id]
        if group.next_rung is None or epoch < group.next_rung:
            return str(self.CONTINUE)
        group.values[trial.trial_id] = value
        return str(self.PAUSE)

    def _left(self, trial: Trial, last: tuple[int, float] | None) -> None:
        group = self._group_of[trial.trial_id]
        group.trials.pop(trial.trial_id, None)
        group.values.pop(trial.trial_id, None)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Decide where all wait; return a paused trial that may go on, if a lane is free."""
        if not any(trial.status in BUSY for trial in live_trials(tune_controller)):
            # Tune has just asked the search, which had a lane and gave nothing: it ended early, or waits for these.
            self._ends.add(len(self._group_of))
        for group in self._groups:
            epoch = group.next_rung
            if epoch is not None and group.all_wait and self._is_complete(group):
                self._pass_rung(group, epoch, tune_controller)
                group.passed += 1
                group.values.clear()
        return super().choose_trial_to_run(tune_controller)

    def _choose(self, tune_controller: Any) -> Trial | None:
        for group in self._groups:
            for name, trial in sorted(group.trials.items()):
                if trial.status == Trial.PAUSED and name not in group.values:
                    return trial
        return None
