"""The base class of all schedulers of a sweep."""

import math
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from mdr_tune.lanes.ray_seams import live_trials

TIME = "epoch"
BUSY = (Trial.RUNNING, Trial.PENDING)
"""Statuses of a trial that has a lane or is about to get one."""


class LaneScheduler(FIFOScheduler):
    """Run trials in order, at most `num_lanes` at a time. Base of all schedulers.

    A subclass makes its decisions in the hooks `_added`, `_returned`, `_decide` and `_left`.

    - A trial that Tune queues again after its process was lost is not treated as a new trial. If it repeats an epoch,
      the epoch is not counted again, and the decision after it stays the same. Tune needs that decision again, because
      it forgets a decision if the process is lost before Tune carries it out.
    - A result without the metric means that the trial failed; the scheduler ignores it.
    - Trials whose config has `exempt` set, those of further seeds, are neither counted nor stopped.

    The metric is maximised; its name comes from Tune's TuneConfig.
    """

    def __init__(self, num_lanes: int) -> None:
        super().__init__()
        self._num_lanes = num_lanes
        self._compared_by: str | None = None
        self._answers: dict[str, tuple[int, str]] = {}
        """Last reported epoch of each trial and the decision after it, by the trial's name."""

    def __getstate__(self) -> dict[str, Any]:
        """Return no state. Tune pickles its scheduler with the experiment, but a sweep is resumed from its journal."""
        return {}

    @property
    def metric(self) -> str | None:
        """Name of the metric by which results are compared; None before Tune has set it."""
        return self._compared_by

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take the name of `metric` from the TuneConfig. Return False, an error for Tune, unless `mode` is `max`."""
        self._compared_by = metric
        return metric is not None and mode == "max"

    def _added(self, trial: Trial) -> None:
        """Hook that is called for each new trial."""

    def _returned(self, trial: Trial) -> None:
        """Hook that is called for a known trial that Tune has queued again or that the search has made anew."""

    def _decide(self, trial: Trial, epoch: int, value: float) -> str:
        """Hook that returns the decision on `trial` after `epoch`, which had this `value`: CONTINUE, PAUSE or STOP."""
        return str(self.CONTINUE)

    def _left(self, trial: Trial, last: tuple[int, float] | None) -> None:
        """Hook that is called when `trial` has ended.

        `last` is (epoch, value) of its last report, if `_decide` was not called for this report; otherwise None.
        """

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Register `trial`, which is new, was begun in an earlier session, or was queued again by Tune."""
        if _is_exempt(trial):
            return
        if trial.trial_id in self._answers:
            self._returned(trial)
        else:
            self._answers[trial.trial_id] = (0, self.CONTINUE)
            self._added(trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return the decision on `trial` after the epoch of `result`: CONTINUE, PAUSE or STOP."""
        report = self._report(result)
        if _is_exempt(trial) or report is None:
            return str(self.CONTINUE)
        epoch, answer = self._answers[trial.trial_id]
        if report[0] > epoch or (report[0] == epoch and answer == self.PAUSE):  # a lost trial has to wait anew
            answer = self._decide(trial, *report)
            self._answers[trial.trial_id] = (report[0], answer)
        return answer if report[0] >= epoch else str(self.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Remove `trial`, which ended while it was running. Tune reports a completed trial's last epoch only here."""
        if _is_exempt(trial):
            return
        report = self._report(result)
        is_new = report is not None and report[0] > self._answers[trial.trial_id][0]
        self._left(trial, report if is_new else None)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Remove `trial`, which ended while it was paused or pending."""
        if not _is_exempt(trial):
            self._left(trial, None)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Remove `trial`, whose process was lost. If it goes on from its checkpoint, Tune adds it again at once."""
        self.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the next trial; None if no trial is ready or no lane is free.

        If the scheduler did not limit the number of running trials, Tune would start all paused trials at once.
        """
        live = live_trials(tune_controller)
        if sum(trial.status in BUSY for trial in live) >= self._num_lanes:
            return None
        return self._choose(tune_controller)

    def _choose(self, tune_controller: Any) -> Trial | None:
        return super().choose_trial_to_run(tune_controller)

    def _report(self, result: dict[str, Any]) -> tuple[int, float] | None:
        value = float(result.get(str(self._compared_by), math.nan))
        return None if math.isnan(value) else (int(result[TIME]), value)


def _is_exempt(trial: Trial) -> bool:
    return bool(trial.config.get("exempt"))
