"""What all schedulers of a sweep have in common."""

import math
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from mdr_tune.lanes.ray_seams import live_trials

TIME = "epoch"
BUSY = (Trial.RUNNING, Trial.PENDING)
"""Status of a trial that has a lane, or is about to."""


class LaneScheduler(FIFOScheduler):
    """Runs trials in order, as many as there are lanes. A subclass decides in the hooks `_added`, `_returned`,
    `_decide` and `_left`.

    - A trial that is queued again after its process was lost keeps its place. An epoch that it repeats does not count
      again and has the answer that it had, since Tune forgets a decision whose trial is lost before it is carried out.
    - A result without the metric, which says that a trial failed, is no report.
    - Trials whose config says `exempt` are neither counted nor stopped.

    The metric is maximised; its name comes from Tune's TuneConfig.

    Args:
        num_lanes: Trials that can run side by side.
    """

    def __init__(self, num_lanes: int) -> None:
        super().__init__()
        self._num_lanes = num_lanes
        self._compared_by: str | None = None
        self._answers: dict[str, tuple[int, str]] = {}
        """The last epoch of each trial that was told, and what was decided then."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler with the experiment; what is needed to go on is in the sweep's journal."""
        return {}

    @property
    def metric(self) -> str | None:
        """What the results are compared by."""
        return self._compared_by

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take the metric from the TuneConfig; False, which Tune says is an error, unless it is maximised."""
        self._compared_by = metric
        return metric is not None and mode == "max"

    def _added(self, trial: Trial) -> None:
        """Take in a new trial."""

    def _returned(self, trial: Trial) -> None:
        """A known trial is there again, queued by Tune or handed out anew by the search."""

    def _decide(self, trial: Trial, epoch: int, value: float) -> str:
        """Say what becomes of a trial after an epoch: CONTINUE, PAUSE or STOP."""
        return str(self.CONTINUE)

    def _left(self, trial: Trial, last: tuple[int, float] | None) -> None:
        """A trial ended; `last` is a final epoch and its value that `_decide` was not asked about, if there is one."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A trial is new, was begun in an earlier session, or is queued again."""
        if _is_exempt(trial):
            return
        if trial.trial_id in self._answers:
            self._returned(trial)
        else:
            self._answers[trial.trial_id] = (0, self.CONTINUE)
            self._added(trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Say what becomes of the trial."""
        report = self._report(result)
        if _is_exempt(trial) or report is None:
            return str(self.CONTINUE)
        epoch, answer = self._answers[trial.trial_id]
        if report[0] > epoch or (report[0] == epoch and answer == self.PAUSE):  # it may have left in between
            answer = self._decide(trial, *report)
            self._answers[trial.trial_id] = (report[0], answer)
        return answer if report[0] >= epoch else str(self.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """A running trial ended. Of one that came to its end by itself, the last epoch is told only here."""
        if _is_exempt(trial):
            return
        report = self._report(result)
        is_new = report is not None and report[0] > self._answers[trial.trial_id][0]
        self._left(trial, report if is_new else None)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """A paused or pending trial ended."""
        if not _is_exempt(trial):
            self._left(trial, None)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A trial's process was lost. If it goes on from its checkpoint, it is added again at once."""
        self.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the next trial if a lane is free. Tune itself would start all paused trials at once."""
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
