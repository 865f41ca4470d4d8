"""Let the trials of a group wait for each other at rungs. When all wait at a rung, the scheduler judges the group.

Tune's own HyperBand and synchronous PBT decide when the last running trial reports. At that moment other trials may
still be writing their checkpoints, and a group may not be complete yet. Ties and random draws then depend on the order
of arrival. Here a group passes a rung only when it is complete and all of its trials are paused with their checkpoints
written. The decision depends on the values alone, so it is the same for any number of lanes, and in a replay.
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
    """Trials that wait for each other at the same rungs.

    Attributes:
        size: Largest number of trials that the group may have.
        rungs: Epochs after which the trials wait, in ascending order.
        added: Number of trials that have been put into the group so far.
        trials: Trials of the group that have not ended, by name.
        passed: Number of rungs that the group has passed.
        values: Value of the metric of each trial that waits at the next rung, by the trial's name.
    """

    size: int
    rungs: list[int]
    added: int = 0
    trials: dict[str, Trial] = field(default_factory=dict)
    passed: int = 0
    values: dict[str, float] = field(default_factory=dict)

    @property
    def next_rung(self) -> int | None:
        """Epoch after which the trials wait next; None if there is no further rung."""
        return self.rungs[self.passed] if self.passed < len(self.rungs) else None

    @property
    def ranking(self) -> list[str]:
        """Names of the trials that wait at the rung, the best first; trials with equal values in the order of names."""
        return sorted(self.values, key=lambda name: (-self.values[name], name))

    @property
    def all_wait(self) -> bool:
        """Whether all trials that have not ended wait at the rung, with their checkpoints written."""
        waiting = (name in self.values and trial.status == Trial.PAUSED for name, trial in self.trials.items())
        return bool(self.trials) and all(waiting)


class RungScheduler(LaneScheduler, ABC):
    """Pause each trial at the rungs of its group. The group does not wait for trials that have ended.

    `num_lanes` trials can run side by side. `ends` are the numbers of trials that the search had before each extension,
    and the number that it has now. With (12, 18), trials 1 to 12 and trials 13 to 18 are in different groups, so that
    the extension by 6 trials does not change the decisions on the first 12.
    """

    def __init__(self, num_lanes: int, ends: Iterable[int]) -> None:
        super().__init__(num_lanes)
        self._ends = set(ends)
        self._groups: list[Group] = []
        self._group_of: dict[str, Group] = {}

    @abstractmethod
    def _new_group(self) -> Group:
        """Return a new, empty group for the next trials."""

    @abstractmethod
    def _pass_rung(self, group: Group, epoch: int, tune_controller: Any) -> None:
        """Stop or change some trials of `group`, which all wait at the rung `epoch`. The rest go on unchanged.

        `tune_controller` is Tune's controller, which ends trials.
        """

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
        """Let each complete group whose trials all wait pass its rung; then return a paused trial that may go on.

        The result is None if no trial may go on or no lane is free.
        """
        if not any(trial.status in BUSY for trial in live_trials(tune_controller)):
            # Tune has just asked the search for a trial. Although a lane was free, the search gave none: it has ended
            # early, or it waits for the paused trials.
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
