"""Give Tune its trials: unfinished ones of earlier sessions, new ones of the search, further seeds of survivors.

This is a `SearchAlgorithm` of our own, because Tune's generator makes up random trial ids, counts paused trials as
running, and knows nothing of trials that an earlier session began.
"""

import copy
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ray.tune.experiment import Experiment, Trial
from ray.tune.search import SearchAlgorithm

from mdr_tune.config.arms import Arm
from mdr_tune.lanes.ray_seams import hand_on_checkpoints, make_trial
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.search.ledger import Ledger

MOST_TIMES_LOST = 2
"""Number of times that a trial is handed out again after Tune gave it up."""


class Suggestions(Protocol):
    """The search that proposes configurations to a source of trials."""

    def next_name(self) -> str | None:
        """Ask the study for the next configuration; returns its name, None if none is left."""

    def suggest(self, name: str) -> dict[str, Any] | None:
        """Return `{"trial": ..., "parameters": ...}` for a name that `next_name` returned."""


class TrialSource(SearchAlgorithm):
    """Hand out the trials of one arm, as many at a time as there are lanes.

    Args:
        arm: Arm whose trials are handed out.
        search: Search that suggests configurations.
        ledger: Ledger with the records of all trials, earlier sessions included.
        num_lanes: Largest number of trials that are pending or running at a time; paused ones do not count.
        seeds: Training seeds of a configuration.
        replays: Whether every trial of the arm goes through Tune again, with recorded epochs answered from the record.
        orphans: Suggestions, by name, that the study holds as running although their trials never began because of a
            crash.
        closed: Returns why no further configuration should be started; None if more may be.
    """

    def __init__(
        self,
        arm: Arm,
        search: Suggestions,
        ledger: Ledger,
        num_lanes: int,
        seeds: Sequence[int],
        replays: bool,
        orphans: dict[str, dict[str, Any]],
        closed: Callable[[], str | None],
    ) -> None:
        self._arm, self._search, self._ledger = arm, search, ledger
        self._num_lanes, self._replays, self._closed = num_lanes, replays, closed
        self._seeds = seeds
        self._orphans = deque(orphans.items())
        self._past = deque(record for record in ledger.of_arm(arm.name) if replays or not record.ended)
        self._asked = sum(record.seed_index == 0 for record in ledger.of_arm(arm.name)) + len(orphans)
        self._unseeded: dict[str, None] = {}
        """Names of the configurations that may still get further seeds, in order."""
        if ledger.gives_further_seeds:
            firsts = (record.name for record in ledger.of_arm(arm.name) if record.seed_index == 0)
            self._unseeded = dict.fromkeys(firsts)
        self._open: dict[str, Trial] = {}
        self._made: dict[str, Trial] = {}
        self._lost: deque[str] = deque()
        self._times_lost: Counter[str] = Counter()
        self._stopped = False
        self.has_nothing_new = False
        """Whether the search has run out of untried configurations."""

    def __getstate__(self) -> dict[str, Any]:
        """Return no state. Tune pickles its search with the experiment, but a sweep is resumed from its journal."""
        return {}

    @property
    def metric(self) -> None:
        """None, since results reach the study through the ledger."""
        return None

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Accept Tune's settings without using them."""
        return True

    @property
    def total_samples(self) -> int:
        """Number of configurations of the arm."""
        return self._arm.trials

    def add_configurations(self, experiments: Any) -> None:
        """Take the settings that all trials share from Tune's experiment, and make the trials of earlier sessions."""
        experiment = experiments[0] if isinstance(experiments, list) else experiments
        assert isinstance(experiment, Experiment)
        self._spec = experiment.spec
        for record in self._past:
            self._made[record.name] = self._make(record.name, self._past_config(record))

    def next_trial(self) -> Trial | None:
        """Return the next trial; None if no lane is free or there is no trial now."""
        self._open = {name: trial for name, trial in self._open.items() if not trial.is_finished()}
        if self._stopped or sum(trial.status != Trial.PAUSED for trial in self._open.values()) >= self._num_lanes:
            return None
        trial = self._lost_trial() or self._past_trial() or self._further_seed() or self._new_trial()
        if trial is not None:
            self._open[trial.trial_id] = trial
        return trial

    def _lost_trial(self) -> Trial | None:
        """Return a trial that Tune gave up, made anew to go on from the same checkpoint; None if none is waiting."""
        if not self._lost:
            return None
        lost = self._made[self._lost.popleft()]
        trial = self._make(lost.trial_id, lost.config)
        hand_on_checkpoints(lost, trial)
        return trial

    def goes_on(self, name: str) -> bool:
        """Return whether a trial that Tune gave up will be handed out again."""
        return name in self._lost

    def _past_trial(self) -> Trial | None:
        return self._made[self._past.popleft().name] if self._past else None

    def _past_config(self, record: TrialRecord) -> dict[str, Any]:
        latest = max(record.checkpoints, default=None)
        return {
            "trial": record.config,
            "parameters": record.parameters,
            "resume": None if latest is None else {"checkpoint": record.checkpoints[latest], "epoch": latest},
            "recorded": record.history if self._replays else [],
            "exempt": record.seed_index > 0,
            "failure": _failure(record),
        }

    def _further_seed(self) -> Trial | None:
        """Return a trial for the next seed of a configuration; None if no configuration is due one.

        A configuration is due further seeds once its first seed ran to its end, or, if every configuration gets all
        seeds, once its first seed has begun.
        """
        for name in list(self._unseeded):
            record = self._ledger.trial(name)
            if record is None or not (record.ended or self._ledger.gives_every_seed):
                continue
            for index in self._ledger.missing_seeds(record):
                seed_name = f"{name}.{index + 1}"
                if seed_name not in self._made:
                    config = {**record.config, "seed": self._seeds[index]}
                    return self._make(seed_name, _fresh(config, record.parameters, exempt=True))
            del self._unseeded[name]
        return None

    def _new_trial(self) -> Trial | None:
        if self._orphans:
            return self._first_seed(*self._orphans.popleft())
        if self._no_more_asked or self._closed() is not None:
            return None
        name = self._search.next_name()
        if name is None:
            self.has_nothing_new = True
            return None
        self._asked += 1
        found = self._search.suggest(name)
        assert found is not None  # `next_name` has just returned this name
        return self._first_seed(name, found)

    @property
    def _no_more_asked(self) -> bool:
        return self._asked >= self._arm.trials or self.has_nothing_new

    def _first_seed(self, name: str, suggestion: dict[str, Any]) -> Trial:
        if self._ledger.gives_further_seeds:
            self._unseeded[name] = None
        return self._make(name, _fresh(suggestion["trial"], suggestion["parameters"]))

    def _make(self, name: str, config: dict[str, Any]) -> Trial:
        self._made[name] = make_trial(self._spec, name, copy.deepcopy(config))
        return self._made[name]

    def is_finished(self) -> bool:
        """Return whether no further trial will be handed out."""
        if self._stopped:
            return True
        if self._lost or not all(trial.is_finished() for trial in self._open.values()):
            return False  # nor while one is paused: Tune would start a new process for each trial that goes on
        no_more = not self._past and not self._orphans and (self._no_more_asked or bool(self._closed()))
        return no_more and not self._unseeded

    def set_finished(self) -> None:
        """Hand out no more trials, because Tune ends the experiment."""
        self._stopped = True

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: results reach the study through the ledger."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Queue a trial that Tune gave up (`error`) to be handed out again; each trial at most MOST_TIMES_LOST times.

        Tune may give a trial up although it has retries left. If a process is lost while Tune makes it ready for
        another trial, Tune counts two failures of that trial, and gives the trial up with the second.
        """
        if error and self._times_lost[trial_id] < MOST_TIMES_LOST:
            self._times_lost[trial_id] += 1
            self._lost.append(trial_id)

    def save_to_dir(self, dirpath: str, **kwargs: Any) -> None:
        """Save nothing: the journal and the study hold the state."""

    def has_checkpoint(self, dirpath: str) -> bool:
        """Return False, since `save_to_dir` saves nothing."""
        return False

    def restore_from_dir(self, dirpath: str) -> None:
        """Raise NotImplementedError; Tune never calls this, since a sweep is resumed from its journal."""
        raise NotImplementedError("a sweep is resumed from its journal")


def _fresh(trial: dict[str, Any], parameters: dict[str, Any], exempt: bool = False) -> dict[str, Any]:
    return {
        "trial": trial,
        "parameters": parameters,
        "resume": None,
        "recorded": [],
        "exempt": exempt,
        "failure": None,
    }


def _failure(record: TrialRecord) -> dict[str, Any] | None:
    """Return kind and text of the failure of an earlier session's trial, for its replay; None if it did not fail."""
    return {"kind": record.outcome, "text": record.error} if record.outcome in ("failed", "diverged") else None
