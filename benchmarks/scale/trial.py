"""A trial that trains nothing. One step is one epoch, each with a checkpoint of some bytes, as `LaneTrial` has it."""

from pathlib import Path
from typing import Any

from ray import tune

from mdr_tune.checkpoints.checkpoint_file import CheckpointInfo, read_info, write_checkpoint
from scale.search import METRIC, recall

STATE = b"0" * 100


class Nothing(tune.Trainable):
    """Computes its metrics from its parameters.

    Tune's config holds what that of a `LaneTrial` does; or the parameters by dotted key and `epochs`, as a plain set-up
    has them.
    """

    def setup(self, config: dict[str, Any], hub: Any = None) -> None:
        """Begin a trial; the hub is not needed."""
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._parameters = config.get("parameters", config)
        self._epochs = config["trial"]["epochs"] if "trial" in config else config["epochs"]
        self._epoch = 0

    def step(self) -> dict[str, Any]:
        """Return the next epoch's metrics."""
        self._epoch += 1
        value = recall(self._parameters, self._epoch)
        metrics = {METRIC: value, "train/loss": 1 - value / 100, "time/epoch_s": 0.001}
        return {"epoch": self._epoch, **metrics, "done": self._epoch >= self._epochs}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the checkpoint's files."""
        write_checkpoint(Path(checkpoint_dir), STATE, CheckpointInfo(self.trial_id, self._epoch, {}))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on after a checkpoint's epoch."""
        self._epoch = read_info(Path(checkpoint_dir)).epoch
