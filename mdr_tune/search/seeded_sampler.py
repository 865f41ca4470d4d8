"""The sampler of a study. It draws each trial as a function of the trials before it, and draws no configuration twice.

A draw depends only on the seed, the arm, the trial's number and the trials before it. No random generator is kept from
one trial to the next. So an interrupted search continues exactly as it would have without the interruption.

A draw is repeated with another seed if an earlier trial had its configuration, or if its values are not valid together.
"""

import contextlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from mdr_tune.config.arms import Arm
from mdr_tune.config.configurations import configuration_key, listed_configurations, parameters_of
from mdr_tune.config.distributions import distributions_of, value_at
from mdr_tune.config.samplers import Sampler, StudyToSample, was_enqueued
from mdr_tune.config.space import Parameter, draw, parameter_tree, resolve
from mdr_tune.config.sweep import SearchConfig

TRIES = 10
"""Largest number of draws of one trial. If all are rejected, the trial is drawn at random from untried configurations.
"""
RANDOM_TRIES = 1000
"""Largest number of random draws for one trial in a space too large to list, before `NothingNewError` is raised."""


class NothingNewError(Exception):
    """Error: the sampler finds no configuration that is still untried in the study."""


def make_sampler(search: SearchConfig, arm: Arm, legacy_name: str | None = None) -> BaseSampler:
    """Return the sampler of the study of `arm`, as `search` configures it.

    `start_from` of the arm gives the first trials. `legacy_name` is None unless a launch with a plan.json of version 1
    began the study. Then it is the study's name: draws are seeded with this name, and configurations may repeat.
    """
    stream = arm.name if legacy_name is None else legacy_name
    given = StudyToSample(arm.trials, len(arm.start_from), seed_of(search.seed, stream), arm.space)
    sampler = search.sampler_class(given)
    return SeededSampler(search.seed, stream, sampler, arm, repeats=legacy_name is not None or search.may_repeat)


class SeededSampler(BaseSampler):
    """Draw each trial with a new Optuna sampler, and repeat the draw until the configuration is a new one.

    Args:
        seed: Seed of the search.
        stream: Name that is mixed into the seed, so that the studies of a sweep have different draws.
        sampler: Sampler that the sweep file names. It draws one trial from a seed.
        arm: Arm whose trials are drawn, first those of its `start_from`, whose missing values are drawn one by one.
        repeats: Whether a configuration may be drawn more than once.
    """

    def __init__(self, seed: int, stream: str, sampler: Sampler, arm: Arm, repeats: bool = False) -> None:
        self._seed, self._stream, self._sampler, self._arm, self._repeats = seed, stream, sampler, arm, repeats
        self._distributions, self._tree = distributions_of(arm.space), parameter_tree(arm.space)
        self._drawn: dict[str, Any] = {}
        """Values of the trial that is being drawn, by the parameter's name."""
        self._keys: dict[int, str] = {}
        """Configuration of each earlier trial, in the form of `configuration_key`, by the trial's number."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Draw the whole `trial` of `study`, and return the distributions of its parameters by name.

        Raise NothingNewError if no untried configuration was found. If a user put the trial into the study with given
        values, nothing is drawn and the result is empty.
        """
        self._drawn = {} if was_enqueued(trial) else self._new_point(study, trial)
        return {name: self._distributions[name] for name in self._drawn}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the values that `infer_relative_search_space` drew. Optuna calls both at a trial's first parameter."""
        return self._drawn

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw the parameter `param_name` of `trial` by itself. The trial's other values have no effect on the draw."""
        return self._independent(study, trial, param_name, 0)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Do nothing with the result of `trial`. When the sampler draws, it reads the results from the study."""

    def _new_point(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """Draw a point whose values are valid together, and return the values by the parameter's name.

        Unless configurations may repeat, no earlier trial has its configuration. Raise NothingNewError if none is left.
        """
        earlier = set() if self._repeats else self._earlier(study, trial)
        for attempt in range(TRIES):
            point = self._point(study, trial, attempt)
            if self._is_new(point, earlier):
                return point
        return self._any_other(trial, earlier)

    def _point(self, study: Study, trial: FrozenTrial, attempt: int) -> dict[str, Any]:
        """Draw all parameters of `trial`, with a seed that depends on `attempt`, the number of rejected draws.

        The sampler or `start_from` gives the values of some parameters. The others are drawn one by one.
        """
        if trial.number < len(self._arm.start_from):
            together = self._arm.start_from[trial.number]
        else:
            together = self._sampler.together(self._seed_of(trial, attempt), study, trial, attempt)
        point: dict[str, Any] = {}

        def choose(parameter: Parameter) -> Any:
            name = parameter.name
            point[name] = together[name] if name in together else self._independent(study, trial, name, attempt)
            return point[name]

        draw(self._tree, choose)
        return point

    def _any_other(self, trial: FrozenTrial, earlier: set[str]) -> dict[str, Any]:
        """Draw a random point whose `configuration_key` is not in `earlier`. Raise NothingNewError if none is found."""
        generator = np.random.default_rng(seed_of(self._seed, self._stream, trial.number, "", TRIES))
        listed = listed_configurations(self._arm.trial, self._arm.space)
        if listed is not None:
            left = [point for key, point in listed.items() if key not in earlier]
            if left:
                return left[int(generator.integers(len(left)))]
            raise NothingNewError
        for _ in range(RANDOM_TRIES):
            point: dict[str, Any] = {}

            def choose(parameter: Parameter, point: dict[str, Any] = point) -> Any:
                point[parameter.name] = value_at(self._distributions[parameter.name], generator.random())
                return point[parameter.name]

            draw(self._tree, choose)
            if self._is_new(point, earlier):
                return point
        raise NothingNewError

    def _is_new(self, point: dict[str, Any], earlier: set[str]) -> bool:
        try:
            return self._key(point) not in earlier
        except ValidationError:  # values that are not valid together, such as a pos_margin above the neg_margin
            return False

    def _key(self, point: dict[str, Any]) -> str:
        arm = self._arm
        return configuration_key(resolve(arm.trial, arm.space, parameters_of(self._tree, point)))

    def _earlier(self, study: Study, trial: FrozenTrial) -> set[str]:
        """Return the `configuration_key` of each trial before `trial`, including failed and stopped ones."""
        for other in study.get_trials(deepcopy=False)[: trial.number]:
            if other.number not in self._keys:
                with contextlib.suppress(KeyError, ValidationError):  # the trial has no parameters yet, or never will
                    self._keys[other.number] = self._key(other.params)
        return {key for number, key in self._keys.items() if number < trial.number}

    def _independent(self, study: Study, trial: FrozenTrial, name: str, attempt: int) -> Any:
        sampler = self._sampler.fresh(self._seed_of(trial, attempt, name))
        return sampler.sample_independent(study, trial, name, self._distributions[name])

    def _seed_of(self, trial: FrozenTrial, attempt: int, parameter: str = "") -> int:
        again = [attempt] if attempt else []
        return seed_of(self._seed, self._stream, trial.number, parameter, *again)


def seed_of(*parts: int | str) -> int:
    """Compute a seed of 32 bits from `parts`, which are numbers and names."""
    numbers = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in parts]
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
