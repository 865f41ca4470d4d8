"""What a launch is going to do, complete and checked, before anything is started."""

import datetime
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mdr_tune.cluster.machine import Machine
from mdr_tune.config.arms import Arm, arms, repeated_points
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.records.journal import Past
from mdr_tune.sweep.stores import Stores


def new_launch() -> str:
    """Return a name that no other launch into the same storage has: the time, to the millisecond."""
    return datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")[:-3]


def repeat_notes(sweep: SweepConfig) -> list[str]:
    """Return a note on each point of `start_from` that is there twice, so that it is tried once."""
    if sweep.search.may_repeat:
        return []
    same = repeated_points(sweep)
    return [f"start_from.{i} is the configuration of start_from.{first}: it is tried once" for i, first in same.items()]


@dataclass(frozen=True)
class Plan:
    """One launch of a sweep, or its continuation.

    Attributes:
        file: The YAML it was read from.
        text: What stood in it.
        notes: What --set changed beyond its own key, and what else a user should know.
        address: Ray cluster to run on; None starts one on this machine.
        launch: Unique among launches into this storage.
        past: What earlier sessions of this launch did.
        extend_by: Trials that this session adds to each arm, in place of those of an extension that never began.
        preflight: Whether the nodes are checked before the first worker starts.
        missing_data: What `mdr_tune.sweep.prepare.missing_data` says, in a dry run with data that may be downloaded.
        legacy_draws: Its plan.json is of version 1: what is drawn depends on the sweep's name too, and may repeat.
    """

    sweep: SweepConfig
    file: Path
    text: str
    notes: tuple[str, ...]
    stores: Stores
    machine: Machine
    lanes: LaneResources
    address: str | None
    launch: str = field(default_factory=new_launch)
    past: Past = field(default_factory=Past)
    extend_by: int = 0
    preflight: bool = True
    missing_data: tuple[str, ...] = ()
    legacy_draws: bool = False

    @property
    def folder(self) -> Path:
        """Where this launch keeps its state."""
        return self.stores.storage / "sweeps" / self.sweep.name / self.launch

    @property
    def resumes(self) -> bool:
        """Whether it goes on with what an earlier session began."""
        return self.past.sessions > 0

    @cached_property
    def arms(self) -> list[Arm]:
        """The searches of this launch, in order."""
        return arms(self.sweep, sum(self._extensions), self.legacy_draws)

    @property
    def _extensions(self) -> list[int]:
        if not self.extend_by:
            return self.past.extensions
        made = self.past.extensions[:-1] if self.past.has_open_extension else self.past.extensions
        return [*made, self.extend_by]

    def trials_before_extensions(self, arm: Arm) -> list[int]:
        """Return how many trials an arm had before each extension."""
        return [min(arm.trials, arm.wanted - sum(self._extensions[i:])) for i in range(len(self._extensions))]

    @property
    def metrics(self) -> list[str]:
        """What is maximised, one metric or two."""
        second = self.sweep.second_metric
        return [self.sweep.metric, *([second] if second else [])]

    @property
    def max_epochs(self) -> int:
        """The most epochs that a trial can have."""
        epochs = self.sweep.space.get("epochs")
        return max(map(int, epochs.probes())) if epochs is not None else self.sweep.trial.epochs  # type: ignore[union-attr]

    @property
    def num_trials(self) -> int:
        """Trials of all arms together."""
        return sum(arm.trials for arm in self.arms)
