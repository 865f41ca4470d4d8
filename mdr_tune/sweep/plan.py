"""What a launch is going to do, complete and checked, before anything is started."""

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from mdr_tune.config.arms import Arm, arms
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.lanes.resources import LaneResources
from mdr_tune.sweep.resources import Machine
from mdr_tune.sweep.stores import Stores


@dataclass(frozen=True)
class Plan:
    """One launch of a sweep.

    Attributes:
        file: The YAML it was read from.
        notes: What --set changed beyond its own key.
        address: Ray cluster to run on; None starts one on this machine.
        launch: Unique among launches into this storage.
    """

    sweep: SweepConfig
    file: Path
    notes: tuple[str, ...]
    stores: Stores
    machine: Machine
    lanes: LaneResources
    address: str | None
    launch: str = field(default_factory=lambda: datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")[:-3])

    @property
    def folder(self) -> Path:
        """Where this launch keeps its state."""
        return self.stores.storage / "sweeps" / self.sweep.name / self.launch

    @property
    def arms(self) -> list[Arm]:
        """The searches of this launch, in order."""
        return arms(self.sweep)

    @property
    def max_epochs(self) -> int:
        """The most epochs that a trial can have."""
        epochs = self.sweep.space.get("epochs")
        return max(map(int, epochs.probes())) if epochs is not None else self.sweep.trial.epochs  # type: ignore[union-attr]

    @property
    def num_trials(self) -> int:
        """Trials of all arms together."""
        return sum(arm.trials for arm in self.arms)
