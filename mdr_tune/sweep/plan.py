"""The plan of a launch: everything that the launch will do, checked before anything is started."""

import datetime
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mdr_tune.cluster.machine import Machine
from mdr_tune.config.arms import Arm, arms, repeated_points
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.data.outline import DatasetOutline
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.records.journal import Past
from mdr_tune.sweep.stores import Stores
from mdr_tune.util.user_code import UserCode


def new_launch() -> str:
    """Return a name for a new launch: the time to the millisecond, so that no two launches have the same name."""
    return datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")[:-3]


def repeat_notes(sweep: SweepConfig) -> list[str]:
    """Return a note on each point of `start_from` in `sweep` that equals an earlier one, and so is not tried again."""
    if sweep.search.may_repeat:
        return []
    same = repeated_points(sweep)
    return [f"start_from.{i} is the configuration of start_from.{first}: it is tried once" for i, first in same.items()]


@dataclass(frozen=True)
class Plan:
    """The work of one session of a launch. The session begins the launch or resumes it.

    Attributes:
        sweep: Configuration of the sweep.
        file: YAML file that the sweep was read from; `text` is its content.
        notes: Notes for the user, such as on keys that a --set has changed in addition to its own key.
        machine: Machine or cluster to run on.
        address: Address of the Ray cluster to run on; None if Ray is to be started on this machine.
        launch: Name of the launch, unique in its storage.
        past: Journal of the earlier sessions of this launch; empty for a new one.
        extend_by: Number of trials that this session adds to each arm; 0 if it adds none. If no trial of the last
            extension has begun, this extension replaces it.
        preflight: Whether the nodes are checked before the first worker starts.
        missing_data: Messages from `mdr_tune.sweep.prepare.missing_data`. They are empty except in a dry run whose
            missing data can still be downloaded.
        local_draws: Kinds of the backbones' layers whose results depend on the number of workers, from
            `mdr_tune.training.local_draws`.
        legacy_draws: Whether plan.json has version 1; see `VERSION` in `stored_launches`.
        code: Copy of the user's own modules, which travels to the workers; None if the sweep names none.
        outline: Sizes of the data set's classes; None if the data set is missing.
        overrides: Keys of the sweep file that flags of the command override, as texts `KEY=VALUE`.
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
    local_draws: tuple[str, ...] = ()
    legacy_draws: bool = False
    code: UserCode | None = None
    outline: DatasetOutline | None = None
    overrides: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Folder in the storage with the state of this launch."""
        return self.stores.storage / "sweeps" / self.sweep.name / self.launch

    @property
    def resumes(self) -> bool:
        """Whether this session resumes a launch that an earlier session began."""
        return self.past.sessions > 0

    @cached_property
    def arms(self) -> list[Arm]:
        """Arms of this launch, in the order in which they are searched."""
        return arms(self.sweep, sum(self._extensions), self.legacy_draws)

    @property
    def _extensions(self) -> list[int]:
        if not self.extend_by:
            return self.past.extensions
        made = self.past.extensions[:-1] if self.past.has_open_extension else self.past.extensions
        return [*made, self.extend_by]

    def trials_before_extensions(self, arm: Arm) -> list[int]:
        """Return, for each extension in order, the number of trials that `arm` had before the extension."""
        return [min(arm.trials, arm.wanted - sum(self._extensions[i:])) for i in range(len(self._extensions))]

    @property
    def most_finalists(self) -> int | None:
        """Largest number of an arm's configurations that get further seeds; None if the sweep chooses no finalists.

        Each extension chooses finalists anew, and the earlier ones keep their seeds.
        """
        chosen = self.sweep.search.finalists
        return None if chosen is None else chosen * (1 + len(self._extensions))

    @property
    def further_seeds(self) -> int:
        """Number of further seeds of the finalists of all arms, if enough trials run to their end; 0 if not known."""
        chosen = self.sweep.search.finalists or 0
        return sum(min(chosen, arm.trials) for arm in self.arms) * (len(self.sweep.training_seeds) - 1)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that are maximised, one or two."""
        second = self.sweep.second_metric
        return [self.sweep.metric, *([second] if second else [])]

    @property
    def max_epochs(self) -> int:
        """Largest number of epochs that a trial can have."""
        epochs = self.sweep.space.get("epochs")
        return max(map(int, epochs.probes())) if epochs is not None else self.sweep.trial.epochs  # type: ignore[union-attr]

    @property
    def num_trials(self) -> int:
        """Number of trials of all arms together, without the trials of further seeds."""
        return sum(arm.trials for arm in self.arms)
