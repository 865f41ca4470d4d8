"""Record in the ledger the events that Ray Tune reports to its callbacks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback, Checkpoint
from ray.tune.experiment import Trial

from mdr_tune.checkpoints.checkpoint_file import read_info
from mdr_tune.config.arms import Arm
from mdr_tune.lanes.ray_seams import exception_of, free_reports
from mdr_tune.records.metrics import check_known
from mdr_tune.records.trial_record import Change, TrialRecord
from mdr_tune.search.ledger import Ledger

NOTHING_TO_TAKE_OVER = 2**31


class TuneEvents(Callback):
    """Tune callback that records in `ledger` what happens in the Tune experiment of `arm`.

    Args:
        release_lane: Function that is called with a trial's name when the trial has ended or was paused. The trial's
            actor cannot release the lane itself if it has died.
        goes_on: Function that takes the name of a trial that Tune gave up, and returns whether Tune will get it again.
        keeps_for_others: Whether trials may take over each other's checkpoints. If so, all checkpoints from the epoch
            of the slowest running trial on are kept.
    """

    def __init__(
        self,
        arm: Arm,
        ledger: Ledger,
        release_lane: Callable[[str], None],
        goes_on: Callable[[str], bool],
        keeps_for_others: bool = False,
    ) -> None:
        self._arm, self._ledger = arm, ledger
        self._release_lane, self._goes_on, self._keeps_for_others = release_lane, goes_on, keeps_for_others
        self.lanes_ended: str | None = None
        """Reason why no lane is left; None as long as there are lanes."""
        self._failures: dict[str, dict[str, str]] = {}
        self._open: dict[str, Trial] = {}
        self._paused: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Return no state: Tune pickles its callbacks with the experiment, but records exist in this process only."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record that `trial` starts, or that it goes on if an earlier session began it.

        Nothing is recorded if `trial` was begun in this session and goes on after a pause or the loss of its process.
        """
        self._paused.discard(trial.trial_id)
        if trial.trial_id in self._open:
            return
        self._open[trial.trial_id] = trial
        record = self._ledger.trial(trial.trial_id)
        if record is None:
            self._add(trial)
        elif not record.ended:
            self._ledger.goes_on(record)

    def _add(self, trial: Trial) -> TrialRecord:
        first, _, seed = trial.trial_id.partition(".")
        record = TrialRecord(
            name=trial.trial_id,
            arm=self._arm.name,
            number=int(first.rpartition("-")[2]) - 1,
            parameters=trial.config["parameters"],
            config=trial.config["trial"],
            seed_index=int(seed) - 1 if seed else 0,
        )
        self._ledger.started(record)
        return record

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record the epoch that `result` reports, or remember why `trial` failed.

        An epoch that is repeated after a fault is recorded once.

        Raises:
            UnknownMetricError: The trial measured a metric that `records.metrics` does not list.
        """
        record = self._record(trial)
        for note in result.get("notes", ()):
            self._ledger.note(record, note)
        failure = result.get("failure")
        if failure is not None:
            self._failures[record.name] = failure
            if failure["kind"] == "lanes_ended":
                self.lanes_ended = failure["text"]
        elif result["epoch"] > record.epochs:
            metrics = {key: float(value) for key, value in result.items() if "/" in key}  # Tune's own have no group
            check_known(metrics)
            epoch = {"epoch": float(result["epoch"]), **metrics}
            self._ledger.epoch(record, epoch, result.get("device"), result.get("distances"))

    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Checkpoint, **info: Any
    ) -> None:
        """Record the new `checkpoint` of `trial`, unless it is a marker."""
        record = self._record(trial)
        saved = read_info(Path(checkpoint.path))
        if saved.origin is None:  # a marker, which has an origin, is from a replay and holds no new state
            self._ledger.checkpoint(record, saved.epoch, Path(checkpoint.path), self._taken_over_from())

    def _taken_over_from(self) -> int:
        """Return the first epoch whose checkpoint another trial may still take over; a huge number if there is none."""
        if not self._keeps_for_others:
            return NOTHING_TO_TAKE_OVER
        records = self._ledger.of_arm(self._arm.name)
        if len(records) < self._arm.trials:
            return 0
        return min((record.epochs for record in records if not record.ended), default=NOTHING_TO_TAKE_OVER)

    def changed(self, name: str, epoch: int, source: str, parameters: dict[str, Any]) -> None:
        """Record that trial `name` took over the state of trial `source` after `epoch`, with new `parameters`."""
        record = self._ledger.trial(name)
        assert record is not None  # the trial has run up to that epoch
        self._ledger.changed(record, Change(epoch, source, parameters))

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record a note that Tune has lost the process of `trial` and starts it again."""
        self._note_loss(trial)

    def _note_loss(self, trial: Trial) -> None:
        error = str(exception_of(trial)).strip().splitlines() or ["its process died"]
        where = f"from epoch {max(self._record(trial).checkpoints, default=0)}"
        self._ledger.note(self._record(trial), f"its process was lost ({error[-1][:200]}): it goes on {where}")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record that `trial` ran to its end, was stopped early, failed by its own fault, or was cut off.

        A trial is cut off if no lane is left. It can go on when the sweep is resumed.
        """
        record = self._record(trial)
        failure = self._failures.pop(record.name, None)
        if failure is not None and failure["kind"] in ("failed", "diverged"):
            self._end(record, failure["kind"], failure["text"])
        elif failure is None:
            self._end(record, "completed" if record.epochs >= record.config["epochs"] else "stopped_early", None)
        else:  # no lane is left: the trial can go on when the sweep is resumed
            self._end(record, "killed", None)
        free_reports(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Record that `trial` failed, because it lost its process so often that Tune has given it up.

        If the trial will be given to Tune again, only a note is recorded.
        """
        if self._goes_on(trial.trial_id):
            self._note_loss(trial)
            self._release_lane(trial.trial_id)
            return
        self._end(self._record(trial), "failed", str(exception_of(trial)))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Release the lanes of trials that were paused since the last step; Tune has no callback for a pause."""
        for name, trial in self._open.items():
            if trial.status == Trial.PAUSED and name not in self._paused:
                self._paused.add(name)
                self._release_lane(name)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Record each trial that still runs at the end of the Tune experiment as interrupted."""
        for name in list(self._open):
            record = self._ledger.trial(name)
            if record is not None and record.outcome == "running":
                self._end(record, "killed", None)

    def _end(self, record: TrialRecord, outcome: Any, error: str | None) -> None:
        self._open.pop(record.name, None)
        self._release_lane(record.name)
        if not record.ended:
            self._ledger.ended(record, outcome, error)

    def _record(self, trial: Trial) -> TrialRecord:
        return self._ledger.trial(trial.trial_id) or self._add(trial)
