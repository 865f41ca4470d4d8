"""A trial as Ray Tune sees it: a thin actor that leases a lane and passes commands on. One step is one epoch.

Imports neither torch nor Ray Train, so that the process is there in a second.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray import tune
from ray.exceptions import OwnerDiedError

from mdr_tune.lanes.hub import unwrap
from mdr_tune.lanes.messages import CommandKind, LaneLost, TrialFailed

CHECKPOINT_FILE = "checkpoint.pt"
MAX_TRIES_AFTER_LOSS = 3
T = TypeVar("T")


class LaneTrial(tune.Trainable):
    """Runs one trial on a leased lane. Tune's config holds the whole trial under `trial`.

    The lane is leased at once and started lazily, because Tune says only after `setup` whether there is a checkpoint
    to go on from. If the lane loses a worker, the trial starts again from its last checkpoint and catches up.
    """

    def setup(self, config: dict[str, Any], hub: Any = None) -> None:
        """Take the sweep's hub, and the first trial."""
        self._hub = hub
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial in the same process."""
        self.cleanup()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._trial = config["trial"]
        self._holder = self.trial_id
        self._checkpoint: ray.ObjectRef | None = None
        self._epochs_done: int | None = None  # None: whatever the checkpoint says
        self._started = False
        unwrap(ray.get(self._hub.lease.remote(self._holder)))

    def step(self) -> dict[str, Any]:
        """Train and validate one epoch."""
        metrics: dict[str, Any] = self._on_lane(lambda: self._submit("epoch", {}))
        self._epochs_done = metrics["epoch"]
        return {**metrics, "done": metrics["epoch"] >= self._trial["epochs"]}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trial's state, fetched from rank 0, into Tune's checkpoint."""
        data: bytes = self._on_lane(lambda: ray.get(self._submit("save", {})))
        Path(checkpoint_dir, CHECKPOINT_FILE).write_bytes(data)
        self._checkpoint = ray.put(data)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on from a checkpoint at the next step."""
        self._checkpoint = ray.put(Path(checkpoint_dir, CHECKPOINT_FILE).read_bytes())
        self._epochs_done = None
        self._started = False

    def cleanup(self) -> None:
        """Give the lane back."""
        ray.get(self._hub.release.remote(self._holder))

    def _on_lane(self, action: Callable[[], T]) -> T:
        """Run `action` with the trial started; after a lost worker, again."""
        for _ in range(MAX_TRIES_AFTER_LOSS):
            try:
                self._ensure_started()
                return action()
            except (LaneLost, OwnerDiedError) as error:
                self._started, lost = False, error
        raise TrialFailed(f"the lane was lost {MAX_TRIES_AFTER_LOSS} times in a row, last: {lost}")

    def _ensure_started(self) -> None:
        """Start the trial from its last checkpoint, and repeat the epochs that are not in it."""
        if self._started:
            return
        epoch = self._submit("start", {"trial": self._trial, "checkpoint": self._checkpoint})
        for _ in range(epoch, self._epochs_done or 0):
            self._submit("epoch", {})
        self._started = True

    def _submit(self, kind: CommandKind, payload: dict[str, Any]) -> Any:
        return unwrap(ray.get(self._hub.submit.remote(self._holder, kind, payload)))
