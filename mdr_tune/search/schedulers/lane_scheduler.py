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
    """Run trials in order, as many at a time as there are lanes.

    A subclass makes its decisions in the hooks `_added`, `_returned`, `_decide` and `_left`.

    - A trial that is queued again after its process was lost keeps its place. An epoch that it repeats is not counted
      again and gets the same answer as before: Tune forgets a decision if the process is lost before Tune carries it
      out.
    - A result without the metric means that the trial failed; the scheduler ignores it.
    - Trials whose config has `exempt` set are neither counted nor stopped.

    The metric is maximised; its name comes from Tune's TuneConfig.

    Args:
        num_lanes: Number of trials that can run side by side.
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
        """Name of the metric that results are compared by; None before Tune has set it."""
        return self._compared_by

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take the metric from the TuneConfig; returns False, which makes Tune raise, if it is not to be maximised."""
        self._compared_by = metric
        return metric is not None and mode == "max"

    def _added(self, trial: Trial) -> None:
        """Take in a new trial."""

    def _returned(self, trial: Trial) -> None:
        """Take in a known trial again, which Tune queued again or the search handed out anew."""

    def _decide(self, trial: Trial, epoch: int, value: float) -> str:
        """Return the decision on a trial after an epoch: CONTINUE, PAUSE or STOP."""
        return str(self.CONTINUE)

    def _left(self, trial: Trial, last: tuple[int, float] | None) -> None:
        """Take out a trial that ended.

        Args:
            trial: Trial that ended.
            last: Final epoch and its value if `_decide` was not asked about that epoch; else None.
        """

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take in a trial that is new, was begun in an earlier session, or is queued again."""
        if _is_exempt(trial):
            return
        if trial.trial_id in self._answers:
            self._returned(trial)
        else:
            self._answers[trial.trial_id] = (0, self.CONTINUE)
            self._added(trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return the decision on a trial after a result: CONTINUE, PAUSE or STOP."""
        report = self._report(result)
        if _is_exempt(trial) or report is None:
            return str(self.CONTINUE)
        epoch, answer = self._answers[trial.trial_id]
        if report[0] > epoch or (report[0] == epoch and answer == self.PAUSE):  # the trial may have left in between
            answer = self._decide(trial, *report)
            self._answers[trial.trial_id] = (report[0], answer)
        return answer if report[0] >= epoch else str(self.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Take out a running trial that ended. If it ran to its end, Tune reports its last epoch only here."""
        if _is_exempt(trial):
            return
        report = self._report(result)
        is_new = report is not None and report[0] > self._answers[trial.trial_id][0]
        self._left(trial, report if is_new else None)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Take out a paused or pending trial that ended."""
        if not _is_exempt(trial):
            self._left(trial, None)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Take out a trial whose process was lost. If it goes on from its checkpoint, Tune adds it again at once."""
        self.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the next trial; None if there is none or no lane is free. Tune would start all paused ones at once."""
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
