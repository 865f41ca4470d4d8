"""Stop trials early by one of Tune's rules, ASHA or median stopping. A stopped trial never goes on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import MedianStoppingRule, TrialScheduler

from mdr_tune.lanes.ray_seams import one_bracket_asha
from mdr_tune.search.schedulers.lane_scheduler import TIME, LaneScheduler

_VALUE = "value"


@dataclass(frozen=True)
class _Named:
    """Stand-in for a Tune trial in calls of Tune's rules.

    Objects with the same `trial_id` are equal, so a rule recognises a trial of an earlier session.
    """

    trial_id: str
    config: dict[str, Any] = field(default_factory=dict, compare=False)


class EarlyStopping(LaneScheduler):
    """Stop trials as `rule`, one of Tune's schedulers, decides after each epoch.

    The rule must compare trials by a metric named `value`. `num_lanes` trials can run side by side.
    """

    def __init__(self, rule: TrialScheduler, num_lanes: int) -> None:
        super().__init__(num_lanes)
        self._rule = rule

    def _added(self, trial: Trial) -> None:
        self._rule.on_trial_add(None, _Named(trial.trial_id))

    def _decide(self, trial: Trial, epoch: int, value: float) -> str:
        return str(self._rule.on_trial_result(None, _Named(trial.trial_id), {TIME: epoch, _VALUE: value}))

    def _left(self, trial: Trial, last: tuple[int, float] | None) -> None:
        if last is not None:  # without this check, Tune's rules would count the last epoch twice, or miss the metric
            self._rule.on_trial_complete(None, _Named(trial.trial_id), {TIME: last[0], _VALUE: last[1]})


def asha(num_lanes: int, max_epochs: int, grace_epochs: int, reduction_factor: int) -> EarlyStopping:
    """Return a scheduler for `num_lanes` lanes that stops trials by ASHA (Li et al., MLSys 2020).

    Args:
        max_epochs: Number of epochs of the longest trial.
        grace_epochs: Number of epochs at the first rung. If `max_epochs` is not larger, no trial is stopped.
        reduction_factor: Ratio of each rung to the rung before it. About 1 / `reduction_factor` of trials pass a rung.
    """
    rule = one_bracket_asha(
        time_attr=TIME,
        metric=_VALUE,
        mode="max",
        max_t=max_epochs,
        grace_period=min(grace_epochs, max_epochs),
        reduction_factor=reduction_factor,
    )
    return EarlyStopping(rule, num_lanes)


def median_stopping(num_lanes: int, grace_epochs: int, min_trials: int) -> EarlyStopping:
    """Return a scheduler for `num_lanes` lanes that stops trials by median stopping (Golovin et al., KDD 2017).

    A trial may be stopped from `grace_epochs` on, at an epoch that `min_trials` others have reached. None is paused.
    """
    rule = MedianStoppingRule(
        time_attr=TIME,
        metric=_VALUE,
        mode="max",
        grace_period=grace_epochs,
        min_samples_required=min_trials,
        min_time_slice=math.inf,
        hard_stop=True,
    )
    return EarlyStopping(rule, num_lanes)


def replay(scheduler: LaneScheduler, reports: Sequence[tuple[str, int, float, bool]]) -> set[str]:
    """Give a new `scheduler` the reports of earlier sessions, so that it decides as if it had received them live.

    Args:
        scheduler: ASHA or median stopping. With any other scheduler the result is empty.
        reports: Tuples (name of the trial, epoch, value, whether the trial ended with that epoch), in the order in
            which they came, without the trials of further seeds. The value is NaN for an epoch without a value.

    Returns:
        Names of the trials to stop now: the scheduler stops them at their last report, but the session ended before.
    """
    metric = scheduler.metric or _VALUE  # Tune may not have set it yet
    scheduler.set_search_properties(metric, "max")
    to_stop: set[str] = set()
    for name, epoch, value, ended in reports:
        trial, result = _Named(name), {TIME: epoch, metric: value}
        scheduler.on_trial_add(None, trial)
        if scheduler.on_trial_result(None, trial, result) == scheduler.STOP:
            to_stop.add(name)
        if ended:
            scheduler.on_trial_complete(None, trial, result)
            to_stop.discard(name)
    return to_stop
