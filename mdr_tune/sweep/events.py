"""From Ray Tune's callbacks to our records, and on to those who listen."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray import cloudpickle as ray_pickle
from ray.tune import Callback
from ray.tune.experiment import Trial

from mdr_tune.config.arms import Arm
from mdr_tune.lanes.messages import LaneEnded, TrialFailed
from mdr_tune.records import SweepListener, TrialRecord

METRIC_GROUPS = ("train/", "val/", "test/", "mdr/", "time/")


class TuneEvents(Callback):
    """Keeps the records of one arm and tells the listeners what happens in it.

    Args:
        arm: The arm that this Tune experiment runs.
        records: Grows by one record for each trial that starts.
        listeners: Told in this order.
        release_lane: Called with the trial's id when it ended, however it did: an actor that died cannot do it.
    """

    def __init__(
        self,
        arm: Arm,
        records: list[TrialRecord],
        listeners: Sequence[SweepListener],
        release_lane: Callable[[str], None],
    ) -> None:
        self._arm, self._records, self._listeners = arm, records, listeners
        self._release_lane = release_lane
        self.lanes_ended: str | None = None
        """Why, once no lane is left."""
        self._by_id: dict[str, TrialRecord] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks with the experiment; records and listeners live in this process only."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune starts a trial, or goes on with one that was paused."""
        if trial.trial_id not in self._by_id:
            self._add(trial)

    def _add(self, trial: Trial) -> TrialRecord:
        config = trial.config
        name = f"{self._arm.name}-{len(self._by_id) + 1:03d}"
        record = TrialRecord(trial.trial_id, name, self._arm.name, config["parameters"], config["trial"])
        self._by_id[trial.trial_id] = record
        self._records.append(record)
        for listener in self._listeners:
            listener.trial_started(record)
        return record

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch is done. A trial that was set back to a checkpoint repeats epochs; each is recorded once."""
        record = self._by_id[trial.trial_id]
        if result["epoch"] <= record.epochs:
            return
        metrics = {key: float(value) for key, value in result.items() if key.startswith(METRIC_GROUPS)}
        record.history.append({"epoch": float(result["epoch"]), **metrics})
        for listener in self._listeners:
            listener.epoch_finished(record)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial ran to its end, or was stopped by the scheduler."""
        record = self._by_id.get(trial.trial_id) or self._add(trial)
        self._end(record, trial, "completed" if record.epochs >= record.config["epochs"] else "stopped_early")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial raised, or its actor died."""
        record = self._by_id.get(trial.trial_id) or self._add(trial)
        error = _exception_of(trial)
        record.error = str(error)
        if isinstance(error, LaneEnded):
            self.lanes_ended = str(error)
        self._end(record, trial, "failed")

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """The experiment is over; what still runs then was interrupted."""
        for trial in trials:
            record = self._by_id.get(trial.trial_id)
            if record is not None and record.outcome == "running":
                self._end(record, trial, "killed")

    def _end(self, record: TrialRecord, trial: Trial, outcome: Any) -> None:
        record.outcome = outcome
        self._release_lane(record.trial_id)
        manager = trial.run_metadata.checkpoint_manager
        latest = [manager.latest_checkpoint_result] if manager.latest_checkpoint_result else []  # kept, best or not
        record.checkpoints = {
            int(saved.metrics["epoch"]): saved.checkpoint.path for saved in [*manager.best_checkpoint_results, *latest]
        }
        for listener in self._listeners:
            listener.trial_ended(record)


def _exception_of(trial: Trial) -> Exception:
    """Return what the trial raised, its text the worker's traceback; else what Tune kept of the failure."""
    file = trial.pickled_error_file
    if file is None or not Path(file).exists():
        return RuntimeError(str(trial.get_error() or "the trial ended without an exception being recorded"))
    error: Exception = ray_pickle.loads(Path(file).read_bytes())  # written a moment ago by Tune in this process
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, TrialFailed | LaneEnded) else error
