"""A trial as Ray Tune sees it: an actor that leases a lane and sends commands to it. One step of Tune is one epoch.

This module imports neither torch nor Ray Train, so that the trial's process starts within a second.
"""

import dataclasses
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray import tune
from ray.exceptions import ObjectLostError, OwnerDiedError

from mdr_tune.checkpoints.checkpoint_file import CHECKPOINT_FILE, CheckpointInfo, Origin, write_checkpoint, write_marker
from mdr_tune.checkpoints.newest import complete, read_newest
from mdr_tune.checkpoints.room import write_when_there_is_room
from mdr_tune.lanes.hub import unwrap
from mdr_tune.lanes.messages import (
    LOST_A_WORKER,
    CommandKind,
    DeviceLost,
    LaneEnded,
    LaneLost,
    TrialFailed,
    TrialFailedDiverging,
)
from mdr_tune.lanes.ray_seams import StoredTrainable, saved_result

__all__ = ["CHECKPOINT_FILE", "LaneTrial"]
MAX_TRIES_AFTER_LOSS = 3
"""Number of attempts for a command whose lane is lost each time. After the last one, `LaneLost` is raised."""
MAX_DEVICES_LOST = 2
"""Number of lost GPUs after which the trial fails, since it is the likely cause. A completed epoch resets the count."""
T = TypeVar("T")


class LaneTrial(StoredTrainable, tune.Trainable):
    """Runs one trial on a leased lane.

    Tune's config holds:

    - `trial`: configuration of the whole trial.
    - `recorded`: metrics of the epochs that the trial completed before the launch was interrupted. They are reported to
      Tune again, which needs no lane.
    - `failure`: failure that ended the trial after the recorded epochs; None if it did not fail.
    - `resume`: {"checkpoint": folder, "epoch": e}, the trial's last checkpoint before the interruption, or None.

    A trial without recorded epochs begins after the epoch of `resume`. This class counts the epochs itself, because
    Tune's count of iterations is different after a resume.

    The trial leases a lane only when it has to train an epoch. On the lane, it starts from the state that it saved or
    loaded last, or from `resume` if that is of a later epoch that has been reported. Epochs between the start and the
    last reported epoch are trained again, but not reported again. A trial that has lost its lane starts on its next
    lane in the same way.

    A failure that would happen again is returned as a result with `done` and a `failure`, whose kind is `failed`,
    `diverged`, or `lanes_ended` if no lane is left. A failure of the machine is raised instead, and Tune then tries the
    trial again from its last checkpoint.
    """

    def setup(self, config: dict[str, Any], hub: Any = None) -> None:
        """Prepare the actor for its first trial, which has Tune's `config`. `hub` is the handle of the sweep's hub."""
        self._hub = hub
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Use this actor for another trial, or for a new config from population based training; always return True."""
        self.cleanup()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._trial = config["trial"]
        self._holder = self.trial_id
        self._token = uuid.uuid4().hex
        self._recorded = {int(metrics["epoch"]): metrics for metrics in config.get("recorded") or ()}
        self._past_failure = config.get("failure")
        resume = config.get("resume")
        self._own = Origin() if resume is None else Origin(str(resume["checkpoint"]), int(resume["epoch"]))
        self._origin = Origin()
        self._source: Origin | None = None  # `source` of CheckpointInfo
        self._epoch = min(self._recorded) - 1 if self._recorded else self._own.epoch
        self._has_trained = False  # since the last checkpoint was loaded
        self._started = False
        self._notes: list[str] = []
        self._devices_lost = 0  # since the last epoch that was reported
        self.forget_last_result()

    def step(self) -> dict[str, Any]:
        """Return the metrics of the next epoch, which is trained on a lane unless it is among the recorded epochs."""
        if self._epoch + 1 in self._recorded:
            return self._report(self._recorded[self._epoch + 1])
        if self._past_failure is not None:
            return {"epoch": self._epoch, "done": True, "failure": self._past_failure, **self._take_notes()}
        try:
            metrics: dict[str, Any] = self._on_lane(f"in epoch {self._epoch + 1}", lambda: self._submit("epoch", {}))
        except TrialFailed as error:
            return self._failure("diverged" if isinstance(error, TrialFailedDiverging) else "failed", error)
        except LaneEnded as error:
            return self._failure("lanes_ended", error)
        self._has_trained = True
        self._devices_lost = 0
        return self._report(metrics)

    def _report(self, metrics: dict[str, Any]) -> dict[str, Any]:
        self._epoch = int(metrics["epoch"])
        return {**metrics, "epoch": self._epoch, **self._take_notes(), "done": self._epoch >= self._trial["epochs"]}

    def _failure(self, kind: str, error: Exception) -> dict[str, Any]:
        self._has_trained = False  # the lane has dropped the trial's state
        failure = {"kind": kind, "text": str(error)}
        return {"epoch": self._epoch, "done": True, "failure": failure, **self._take_notes()}

    def _take_notes(self) -> dict[str, Any]:
        notes, self._notes = self._notes, []
        return {"notes": notes} if notes else {}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trial's state into the folder `checkpoint_dir`. If there is no state at this epoch, write a marker.

        A marker says where to get the state from. It is written while recorded epochs are reported, and after the trial
        has failed. The state, which comes from rank 0, stays in memory: Tune saves once more when it pauses a trial,
        and the trial may have no lane by then.
        """
        folder, origin = Path(checkpoint_dir), self._origin_now()
        if self._has_trained and (origin.data is None or origin.epoch < self._epoch):
            saved = self._on_lane(f"after epoch {self._epoch}", lambda: self._submit("save", {}), ray.get)
            origin = self._origin = Origin(None, self._epoch, data=ray.put(saved))
        info = CheckpointInfo(self._holder, self._epoch, self._trial, self._source)
        if origin.data is None or origin.epoch < self._epoch:
            if origin.until < self._epoch:
                origin = origin.then(self._trial, self._epoch)
            marker = dataclasses.replace(info, origin=dataclasses.replace(origin, data=None))
            self._write(lambda: write_marker(folder, marker), folder, 0)
            return
        data: bytes = ray.get(origin.data)
        self._write(lambda: write_checkpoint(folder, data, info), folder, len(data))

    def restore(self, checkpoint_path: Any) -> None:
        """Load a checkpoint as Tune does. If its folder is missing, make an empty one, which counts as damaged."""
        checkpoint, metrics = saved_result(checkpoint_path)
        epoch = metrics.get("epoch")
        self._restored_epoch = None if epoch is None else int(epoch)
        if checkpoint is not None and self.storage_folder is not None:
            Path(checkpoint.path).mkdir(parents=True, exist_ok=True)
        super().restore(checkpoint_path)

    _restored_epoch: int | None = None
    """Epoch of the checkpoint that is being loaded, according to Tune; None if Tune does not give it."""

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Load the checkpoint or marker in `checkpoint_dir`, so that the next step is the epoch after it.

        The checkpoint is the trial's own, or that of another trial whose state this trial takes over. The epochs that
        follow are reported from the records of *this* trial, or trained with this trial's configuration.

        If the checkpoint is damaged, an earlier checkpoint takes its place. The epochs between the two are trained
        again with the configuration in the checkpoint.json of the damaged checkpoint. If this file is damaged too, they
        are trained with the configuration of the earlier checkpoint.
        """
        found = read_newest(Path(checkpoint_dir), self._restored_epoch, self._trial)
        self._restored_epoch = None
        if found.note is not None:
            self._notes.append(found.note)
        if found.info is not None and found.info.name == self._holder:
            self._source = found.info.source
        else:
            self._source = dataclasses.replace(found.origin, data=None)
        self._origin = _shared(found.origin)
        self._epoch = found.origin.until
        self._has_trained = False
        self._started = False

    def cleanup(self) -> None:
        """Give the lane back to the hub."""
        ray.get(self._hub.release.remote(self._holder, self._token))

    def _origin_now(self) -> Origin:
        """Return the origin from which to get the trial's state after the last reported epoch."""
        is_own_later = self._origin.until < self._own.epoch <= self._epoch
        return self._own if is_own_later else self._origin

    def _on_lane(self, when: str, action: Callable[[], Any], then: Callable[[Any], Any] = lambda value: value) -> Any:
        """Start the trial on a lane unless it is on one, and return `then(action())`. Try again if the lane is lost.

        Args:
            when: Words for messages that say when the lane was lost, such as `in epoch 3`.
            action: Function that sends a command to the lane, and returns the command's result.
            then: Function that is applied to the result, such as `ray.get`. If it finds that the node with the result
                is gone, the lane counts as lost.

        Raises:
            LaneLost: The lane was lost MAX_TRIES_AFTER_LOSS times in a row.
            TrialFailed: The trial failed, or lost its GPU MAX_DEVICES_LOST times without a completed epoch between.
            LaneEnded: All lanes have ended.
        """
        for _ in range(MAX_TRIES_AFTER_LOSS):
            try:
                self._ensure_started()
                return then(action())
            except DeviceLost as error:
                self._devices_lost += 1
                if self._devices_lost == MAX_DEVICES_LOST:
                    self._started = False
                    raise TrialFailed(str(error)) from error
                what = f"lost its GPU ({_reason(error)})"
            except (LaneLost, OwnerDiedError, ObjectLostError) as error:
                what = str(error) if isinstance(error, LaneLost) else LOST_A_WORKER
            except Exception:
                self._started = False
                raise
            self._started = False
            epoch = self._origin_now().epoch
            source = f"the checkpoint of epoch {epoch}" if epoch else "the start"
            self._notes.append(f"the lane {what} {when}: repeated from {source}")
        raise LaneLost(f"{what} {MAX_TRIES_AFTER_LOSS} times in a row {when}")

    def _ensure_started(self) -> None:
        """Unless the trial is on a lane, lease one, start the trial, and train it up to the last reported epoch."""
        if self._started:
            return
        unwrap(ray.get(self._hub.lease.remote(self._holder, self._token)))
        origin = self._origin_now()
        if origin is self._own:
            self._source = self._own
        found = complete(origin, self._trial)
        if found.note is not None:
            self._notes.append(found.note)
        self._origin = origin = _shared(found.origin)  # so that it is not read again
        state = origin.data
        stages = origin.then(self._trial, self._epoch).stages
        for number, stage in enumerate(stages):
            if number > 0:
                state = self._submit("save", {})
            done = self._submit("start", {"trial": stage.trial, "checkpoint": state})
            for _ in range(done, stage.until):
                self._submit("epoch", {})
        self._started = True

    def _submit(self, kind: CommandKind, payload: dict[str, Any]) -> Any:
        return unwrap(ray.get(self._hub.submit.remote(self._holder, kind, payload)))

    def _write(self, write: Callable[[], T], folder: Path, size_bytes: int) -> T:
        """Call `write`, which writes a checkpoint, once `folder` and the storage have room for `size_bytes` each."""
        folders = [folder] if self.storage_folder is None else [folder, self.storage_folder]
        return write_when_there_is_room(write, folders, size_bytes, self._tell)

    def store(self, folder: Path, copy: Callable[[], Any]) -> Any:
        """Copy the checkpoint in `folder` to the storage by Tune's function `copy`, once there is room for it."""
        size = sum(file.stat().st_size for file in folder.iterdir())
        result = write_when_there_is_room(copy, [self.storage_folder or folder], size, self._tell)
        if self.storage_folder is not None and self._origin.data is not None and self._origin.epoch == self._epoch:
            self._origin = dataclasses.replace(self._origin, folder=result.checkpoint.path)  # for later markers
        return result

    def _tell(self, text: str) -> None:
        ray.get(self._hub.tell.remote(text))


def _reason(error: DeviceLost) -> str:
    """Return the first line of the message in `error`'s traceback, without the exception's type."""
    lines = str(error).splitlines()
    raised = [line for line in lines if line and not line.startswith((" ", "Traceback "))] or lines
    return raised[0].partition(": ")[2] or raised[0]


def _shared(origin: Origin) -> Origin:
    """Return `origin` with its bytes moved to Ray's object store, from which the workers read them."""
    return dataclasses.replace(origin, data=ray.put(origin.data)) if isinstance(origin.data, bytes) else origin
