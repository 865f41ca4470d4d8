"""Give Tune its trials: unfinished ones of earlier sessions, new ones of the search, and further seeds.

This project has its own `SearchAlgorithm`, because Tune's generator chooses random trial ids, counts paused trials as
running, and does not know the trials of earlier sessions.
"""

import copy
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ray.tune.experiment import Experiment, Trial
from ray.tune.search import SearchAlgorithm

from mdr_tune.config.arms import Arm
from mdr_tune.config.sweep import repeated
from mdr_tune.lanes.ray_seams import hand_on_checkpoints, make_trial
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.search.ledger import Ledger

MOST_TIMES_LOST = 2
"""Largest number of times that a trial is given to Tune again after Tune gave it up."""


class Suggestions(Protocol):
    """The methods of a search that `TrialSource` calls to get configurations."""

    def next_name(self) -> str | None:
        """Ask the study for the next configuration and return its name, or None if no configuration is left."""

    def suggest(self, name: str) -> dict[str, Any] | None:
        """Return the suggestion for `name`, which `next_name` returned: `{"trial": ..., "parameters": ...}`."""


class TrialSource(SearchAlgorithm):
    """Give Tune the trials of one arm, as many at a time as there are lanes.

    Args:
        arm: Arm whose trials are given.
        search: Search that suggests configurations.
        ledger: Ledger with the records of all trials, earlier sessions included.
        num_lanes: Largest number of trials that are pending or running at the same time. Paused trials do not count.
        seeds: Training seeds that a configuration may get.
        replays: Whether every trial of earlier sessions runs through Tune again, with results from its record.
        orphans: Suggestions, by name, for trials that the study has as running, but that a crash kept from starting.
        closed: Function that returns the reason why no further configuration should be started, or None.
        out_of_budget: Function that returns the reason why finalists should get no further seeds either, or None.
        folds: Number of folds in which each seed of a configuration is trained; None without a cross-validation.
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
        out_of_budget: Callable[[], str | None] = lambda: None,
        folds: int | None = None,
    ) -> None:
        self._arm, self._search, self._ledger = arm, search, ledger
        self._num_lanes, self._replays = num_lanes, replays
        self._closed, self._out_of_budget = closed, out_of_budget
        self._seeds, self._folds = seeds, folds
        self._orphans = deque(orphans.items())
        self._past = deque(record for record in ledger.of_arm(arm.name) if replays or not record.ended)
        self._asked = sum(record.seed_index == 0 for record in ledger.of_arm(arm.name)) + len(orphans)
        self._unseeded: dict[str, None] = {}
        """Names of the configurations that may still get further seeds, in the order in which they get them."""
        self._awaits_finals = ledger.num_finalists is not None
        """Whether finalists get the further seeds, and are not chosen yet."""
        if ledger.gives_further_seeds and not self._awaits_finals:
            self._unseeded = dict.fromkeys(record.name for record in ledger.getting_seeds(arm.name))
        self._open: dict[str, Trial] = {}
        self._made: dict[str, Trial] = {}
        self._lost: deque[str] = deque()
        self._times_lost: Counter[str] = Counter()
        self._stopped = False
        self.has_nothing_new = False
        """Whether the search has no untried configuration left."""

    def __getstate__(self) -> dict[str, Any]:
        """Return no state. Tune pickles its search with the experiment, but a sweep is resumed from its journal."""
        return {}

    @property
    def metric(self) -> None:
        """Always None: results reach the study through the ledger, so Tune need not pass on a metric."""
        return None

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Accept Tune's settings without using them."""
        return True

    @property
    def total_samples(self) -> int:
        """Number of configurations that the arm tries."""
        return self._arm.trials

    def add_configurations(self, experiments: Any) -> None:
        """Take the settings of all trials from Tune's `experiments`, and make the trials of earlier sessions."""
        experiment = experiments[0] if isinstance(experiments, list) else experiments
        assert isinstance(experiment, Experiment)
        self._spec = experiment.spec
        for record in self._past:
            self._made[record.name] = self._make(record.name, self._past_config(record))

    def next_trial(self) -> Trial | None:
        """Return the next trial; None if no lane is free or no trial is ready."""
        self._open = {name: trial for name, trial in self._open.items() if not trial.is_finished()}
        if self._stopped or sum(trial.status != Trial.PAUSED for trial in self._open.values()) >= self._num_lanes:
            return None
        trial = self._lost_trial() or self._past_trial() or self._further_seed() or self._new_trial()
        if trial is not None:
            self._open[trial.trial_id] = trial
        return trial

    def _lost_trial(self) -> Trial | None:
        """Return a Tune trial that goes on from the checkpoint of a trial that Tune gave up; None if there is none."""
        if not self._lost:
            return None
        lost = self._made[self._lost.popleft()]
        trial = self._make(lost.trial_id, lost.config)
        hand_on_checkpoints(lost, trial)
        return trial

    def goes_on(self, name: str) -> bool:
        """Return whether the trial `name`, which Tune gave up, will be given to Tune again."""
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
        """Return a trial for the next seed of a configuration; None if no configuration should get a further seed now.

        A configuration gets further seeds once its first seed has run to its end. If the ledger `gives_every_seed`, it
        gets them once its first seed has begun; if it is a finalist, once all first seeds of the arm have ended. All
        finalists get their second seed before any gets its third, so that a search that is cut off there compares
        means of about as many seeds.
        """
        self._choose_finalists()
        found: tuple[int, TrialRecord] | None = None
        for name in list(self._unseeded):
            record = self._ledger.trial(name)
            if record is None or not (record.ended or self._ledger.gives_every_seed):
                continue
            missing = self._ledger.missing_seeds(record)
            index = next((index for index in missing if f"{name}.{index + 1}" not in self._made), None)
            if index is None:
                del self._unseeded[name]
            elif found is None or (self._ledger.num_finalists is not None and index < found[0]):
                found = index, record
        if found is None:
            return None
        index, record = found
        place, fold = divmod(index, self._folds or 1)
        config = repeated(record.config, self._seeds[place], fold if self._folds else None)
        return self._make(f"{record.name}.{index + 1}", _fresh(config, record.parameters, exempt=True))

    def _choose_finalists(self) -> None:
        """Choose the finalists, if all first seeds of the arm have ended, none will start, and there is budget left."""
        if self._awaits_finals and self._first_seeds_are_over and self._out_of_budget() is None:
            self._awaits_finals = False
            self._unseeded = dict.fromkeys(first.name for first in self._ledger.getting_seeds(self._arm.name))

    @property
    def _first_seeds_are_over(self) -> bool:
        going_on = any(not trial.config["exempt"] and not trial.is_finished() for trial in self._open.values())
        return not going_on and not self._lost and self._none_are_to_come

    @property
    def _none_are_to_come(self) -> bool:
        """Whether no trial of an earlier session is left to give, and the search will not be asked for another one."""
        return not self._past and not self._orphans and (self._no_more_asked or self._closed() is not None)

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
        if self._ledger.gives_further_seeds and self._ledger.num_finalists is None:
            self._unseeded[name] = None
        return self._make(name, _fresh(suggestion["trial"], suggestion["parameters"]))

    def _make(self, name: str, config: dict[str, Any]) -> Trial:
        self._made[name] = make_trial(self._spec, name, copy.deepcopy(config))
        return self._made[name]

    def is_finished(self) -> bool:
        """Return whether no further trial will be given to Tune."""
        if self._stopped:
            return True
        if self._lost or not all(trial.is_finished() for trial in self._open.values()):
            return False  # a paused trial too: else Tune would start a new process for each trial that goes on
        self._choose_finalists()
        return self._none_are_to_come and not self._unseeded

    def set_finished(self) -> None:
        """Give Tune no more trials. Tune calls this when it ends the experiment."""
        self._stopped = True

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: results reach the study through the ledger."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Queue the trial `trial_id` for Tune again if Tune gave it up (`error`), at most MOST_TIMES_LOST times.

        Tune may give up a trial that has retries left. This happens if a process is lost while Tune hands it to the
        trial: Tune then counts two failures of the trial, and gives it up at the second one.
        """
        if error and self._times_lost[trial_id] < MOST_TIMES_LOST:
            self._times_lost[trial_id] += 1
            self._lost.append(trial_id)

    def save_to_dir(self, dirpath: str, **kwargs: Any) -> None:
        """Save nothing, since the journal and the study contain the state."""

    def has_checkpoint(self, dirpath: str) -> bool:
        """Return False: there is no saved state, since `save_to_dir` saves nothing."""
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
    """Return the `kind` and the `text` of the failure in `record`; None if the trial did not fail or diverge."""
    return {"kind": record.outcome, "text": record.error} if record.outcome in ("failed", "diverged") else None
