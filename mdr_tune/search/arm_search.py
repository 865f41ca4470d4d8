"""The search of one arm: its Optuna study proposes the trials, and the trials' results are entered into the study."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from ray.tune.search.optuna import OptunaSearch

from mdr_tune.config.arms import Arm
from mdr_tune.config.distributions import distribution
from mdr_tune.config.space import Parameter, draw, parameter_tree, resolve
from mdr_tune.config.sweep import SearchConfig
from mdr_tune.lanes.ray_seams import study_of
from mdr_tune.search.seeded_sampler import NothingNewError, make_sampler
from mdr_tune.util.quiet_optuna import quiet_optuna, without_warnings
from mdr_tune.util.sqlite_address import sqlite_url

BUSY_TIMEOUT_S = 60.0
"""Seconds to wait while another process, such as optuna-dashboard, has the study's file locked."""


class ArmSearch(OptunaSearch):
    """Search the space of one arm with an Optuna study.

    A suggestion is a whole trial, `{"trial": <nested TrialConfig>, "parameters": <drawn values by dotted key>}`, so the
    code that runs trials needs no search space. The name of a trial is the arm's name and the trial's number in the
    study plus 1, since these numbers begin with 0: `mdr-007` has number 6. Only this object writes to the study. To
    record an event twice has the same effect as once, so a journal may be replayed from its start.

    Args:
        arm: Arm whose space is searched.
        search: Configuration of the search, with the sampler and its seed.
        metrics: Names of the metrics that are maximised, one or two.
        storage: SQLite file of the study. It is created if it does not exist.
        study_name: Name of the study. If the file has a study of this name, the search continues that study.
        legacy_draws: Whether to draw as a launch whose plan.json has version 1: draws are seeded with the study's name,
            and configurations may repeat.
    """

    def __init__(
        self,
        arm: Arm,
        search: SearchConfig,
        metrics: list[str],
        storage: Path,
        study_name: str,
        legacy_draws: bool = False,
    ) -> None:
        self._arm, self._tree, self._metrics = arm, parameter_tree(arm.space), metrics
        quiet_optuna()
        url, timeout = sqlite_url(storage), {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
        super().__init__(
            self._draw,
            metric=metrics if len(metrics) > 1 else metrics[0],
            mode=["max"] * len(metrics) if len(metrics) > 1 else "max",
            sampler=make_sampler(search, arm, study_name if legacy_draws else None),
            study_name=study_name,
            storage=RDBStorage(url, engine_kwargs=timeout),
        )
        self._study: optuna.Study = study_of(self)
        if self._study.metric_names != metrics:
            with without_warnings():
                self._study.set_metric_names(metrics)
        trials = self._study.get_trials(deepcopy=False)
        self._trials = {trial.number: _Known.of(trial) for trial in trials if trial.state != TrialState.WAITING}

    def next_name(self) -> str | None:
        """Ask the study for one more trial and return its name, or None if no untried configuration was found."""
        trial = self._study.ask()
        self._trials[trial.number] = _Known(trial._trial_id)
        try:
            self._draw(trial)
        except NothingNewError:
            return None
        return f"{self._arm.name}-{trial.number + 1:03d}"

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the suggestion for the trial named `trial_id`, which `next_name` returned."""
        return self.adopt(int(trial_id.removeprefix(f"{self._arm.name}-")) - 1)

    def adopt(self, number: int) -> dict[str, Any]:
        """Return the suggestion for the trial `number` of the study, which this process or an earlier one asked for.

        After a crash, the study may lack parameters of the trial, or whole trials. They are then drawn again, with the
        same values if the earlier trials are unchanged. Raise NothingNewError if no untried configuration is found.
        """
        while number not in self._trials:
            self.next_name()
        stored = self._trials[number].parameters
        try:
            parameters = draw(self._tree, lambda parameter: stored[parameter.name])
        except KeyError:
            parameters = self._draw(Trial(self._study, self._trials[number].trial_id))
        return {"trial": resolve(self._arm.trial, self._arm.space, parameters).model_dump(), "parameters": parameters}

    def running_numbers(self) -> list[int]:
        """Return the numbers, in the study, of the trials that have not ended, in ascending order."""
        return sorted(number for number, known in self._trials.items() if known.state == TrialState.RUNNING)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Record the `value` of the metric that the trial `number` of the study reached in `epoch`.

        Nothing is recorded if the value is not finite, or if two metrics are maximised.
        """
        known = self._trials[number]
        if len(self._metrics) > 1 or not math.isfinite(value) or known.reported.get(epoch) == value:
            return
        if known.state.is_finished():
            raise ValueError(f"trial {number} has ended: epoch {epoch} cannot have {value} now")
        self._study._storage.set_trial_intermediate_value(known.trial_id, epoch, value)
        known.reported[epoch] = value

    def complete(self, number: int, values: list[float]) -> None:
        """Record that the trial `number` ran to its end, and its `values`, one for each metric.

        If a value is not finite, the trial is recorded as failed.
        """
        if all(map(math.isfinite, values)):
            self._tell(number, TrialState.COMPLETE, values, "completed")
        else:
            self.fail(number, f"its values are not finite: {values}")

    def prune(self, number: int) -> None:
        """Record that the trial `number` was stopped early. Optuna gives it the value that was reported last."""
        self._tell(number, TrialState.PRUNED, None, "stopped_early")

    def fail(self, number: int, why: str) -> None:
        """Record that the trial `number` failed and has no value; `why` is the reason in words."""
        self._tell(number, TrialState.FAIL, None, why)

    def _tell(self, number: int, state: TrialState, values: list[float] | None, outcome: str) -> None:
        known = self._trials[number]
        if known.state == state and (values is None or known.values == values):
            return
        if known.state.is_finished():
            raise ValueError(f"trial {number} ended as {known.state.name}: it cannot end as {state.name} {values} now")
        self._study._storage.set_trial_user_attr(known.trial_id, "outcome", outcome)
        self._study.tell(Trial(self._study, known.trial_id), values, state)
        known.state, known.values = state, values

    def _draw(self, trial: Trial) -> dict[str, Any]:
        """Let the study draw the parameters of `trial`, and return them by dotted key.

        Raise NothingNewError if no untried configuration was found. The study then has `trial` as failed.
        """
        try:
            parameters = draw(self._tree, lambda parameter: _ask(trial, parameter))
        except NothingNewError:
            self.fail(trial.number, "nothing was left that no trial had yet")
            raise
        self._trials[trial.number].parameters = trial.params
        return parameters


def _ask(trial: Trial, parameter: Parameter) -> Any:
    found = distribution(parameter)
    if isinstance(found, CategoricalDistribution):
        return trial.suggest_categorical(parameter.name, found.choices)
    if isinstance(found, IntDistribution):
        return trial.suggest_int(parameter.name, found.low, found.high)
    assert isinstance(found, FloatDistribution)
    return trial.suggest_float(parameter.name, found.low, found.high, log=found.log)


@dataclass
class _Known:
    """State of a trial in the study, cached because a query of the database takes longer the more trials there are."""

    trial_id: int
    """Id of the trial in the database, which is not its number in the study."""
    parameters: dict[str, Any] = field(default_factory=dict)
    reported: dict[int, float] = field(default_factory=dict)
    state: TrialState = TrialState.RUNNING
    values: list[float] | None = None

    @classmethod
    def of(cls, trial: FrozenTrial) -> "_Known":
        """Return the state of a `trial` that the study has stored."""
        return cls(trial._trial_id, trial.params, dict(trial.intermediate_values), trial.state, trial.values)
