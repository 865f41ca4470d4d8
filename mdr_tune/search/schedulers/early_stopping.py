"""Trials are stopped by a rule of Tune's, ASHA or median stopping, at once and for good."""

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
    """A trial as far as a rule knows it: equal by name, so that one of an earlier session is the same."""

    trial_id: str
    config: dict[str, Any] = field(default_factory=dict, compare=False)


class EarlyStopping(LaneScheduler):
    """Asks a rule after each epoch."""

    def __init__(self, rule: TrialScheduler, num_lanes: int) -> None:
        super().__init__(num_lanes)
        self._rule = rule

    def _added(self, trial: Trial) -> None:
        self._rule.on_trial_add(None, _Named(trial.trial_id))

    def _decide(self, trial: Trial, epoch: int, value: float) -> str:
        return str(self._rule.on_trial_result(None, _Named(trial.trial_id), {TIME: epoch, _VALUE: value}))

    def _left(self, trial: Trial, last: tuple[int, float] | None) -> None:
        if last is not None:  # without, Tune's rules would count the last epoch twice, or miss the metric
            self._rule.on_trial_complete(None, _Named(trial.trial_id), {TIME: last[0], _VALUE: last[1]})


def asha(num_lanes: int, max_epochs: int, grace_epochs: int, reduction_factor: int) -> EarlyStopping:
    """Return ASHA (Li et al., MLSys 2020). Where trials are shorter than `grace_epochs`, none is stopped."""
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
    """Return median stopping (Golovin et al., KDD 2017). It never pauses a trial to wait for others."""
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
    """Let a new scheduler see the reports of earlier sessions; it then decides as if it had been there.

    Args:
        scheduler: ASHA or median stopping; of others nothing comes out.
        reports: Trial, epoch, value, and whether the trial ended with that epoch, in the order in which they came,
            without further seeds. A value of NaN stands for an epoch without one.

    Returns:
        The trials that were to be stopped at their last report, and were not before the session ended.
    """
    metric = scheduler.metric or _VALUE  # Tune may not have said yet what it is
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
