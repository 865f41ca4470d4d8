"""The sampler of a study: draws each trial anew, as a function of the trials before it, and none twice.

What is drawn depends on the seed, the arm, the trial's number and the trials before it, on nothing else: no generator
lives on from one trial to the next. So an interrupted search goes on as it would have gone on.

No configuration is drawn twice: whatever sampler draws one that an earlier trial had draws again, from another seed. So
it does if the values that it drew do not go together.
"""

import contextlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from mdr_tune.config.arms import Arm
from mdr_tune.config.configurations import configuration_key, listed_configurations, parameters_of
from mdr_tune.config.space import Parameter, draw, parameter_tree, resolve, walk

TRIES = 10
"""How often a sampler draws before its trial is drawn at random from what no trial had yet."""
RANDOM_TRIES = 1000
"""How often it is then drawn at random, where a space cannot be listed, before nothing new is said to be left."""


class NothingNewError(Exception):
    """No configuration was found that no earlier trial of the study had."""


class NewSampler:
    """Makes the sampler of one trial: random."""

    def __call__(self, seed: int, study: Study, trial: FrozenTrial, attempt: int = 0) -> BaseSampler:
        """Return a sampler that draws `trial`, which was drawn in vain `attempt` times before."""
        return RandomSampler(seed)


class SeededSampler(BaseSampler):
    """Draws each trial from a sampler of its own, made anew, until it is one that no earlier trial was.

    Args:
        seed: Seed of the search.
        stream: Name that is mixed into the seed, so that no two studies of a sweep draw the same.
        new: Makes a trial's sampler from a seed.
        arm: Whose trials are drawn. The first have the values of its `start_from`; what one leaves open is drawn
            parameter by parameter.
        repeats: A configuration may be drawn again.
    """

    def __init__(self, seed: int, stream: str, new: NewSampler, arm: Arm, repeats: bool = False) -> None:
        self._seed, self._stream, self._new, self._arm, self._repeats = seed, stream, new, arm, repeats
        self._distributions, self._tree = distributions_of(arm), parameter_tree(arm.space)
        self._drawn: dict[str, Any] = {}
        """The trial that is drawn now: values by name."""
        self._keys: dict[int, str] = {}
        """Configurations of earlier trials, by their number: see `configuration_key`."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Draw the whole trial; returns what it has. Of a point that a user put into the study, nothing.

        Raises:
            NothingNewError: There is no configuration left that no earlier trial had.
        """
        self._drawn = {} if was_enqueued(trial) else self._new_point(study, trial)
        return {name: self._distributions[name] for name in self._drawn}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what was drawn: Optuna asks for both at the trial's first parameter."""
        return self._drawn

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter by itself, the same whatever was drawn before it."""
        return self._independent(study, trial, param_name, 0)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Nothing to learn here: the study has it."""

    def _new_point(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """Draw a point that is a valid trial, whose configuration no earlier trial had, unless they may repeat."""
        earlier = set() if self._repeats else self._earlier(study, trial)
        for attempt in range(TRIES):
            point = self._point(study, trial, attempt)
            if self._is_new(point, earlier):
                return point
        return self._any_other(trial, earlier)

    def _point(self, study: Study, trial: FrozenTrial, attempt: int) -> dict[str, Any]:
        """Draw a point: the parameters that the sampler draws together, and each other one by itself."""
        if trial.number < len(self._arm.start_from):
            together = self._arm.start_from[trial.number]
        else:
            sampler = self._fresh(study, trial, attempt)
            together = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))
        point: dict[str, Any] = {}

        def choose(parameter: Parameter) -> Any:
            name = parameter.name
            point[name] = together[name] if name in together else self._independent(study, trial, name, attempt)
            return point[name]

        draw(self._tree, choose)
        return point

    def _any_other(self, trial: FrozenTrial, earlier: set[str]) -> dict[str, Any]:
        """Return a point at random of those that no earlier trial had."""
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
        except ValidationError:  # values that do not go together, such as a pos_margin above the neg_margin
            return False

    def _key(self, point: dict[str, Any]) -> str:
        arm = self._arm
        return configuration_key(resolve(arm.trial, arm.space, parameters_of(self._tree, point)))

    def _earlier(self, study: Study, trial: FrozenTrial) -> set[str]:
        """Return the configurations of all trials before this one, whatever became of them."""
        for other in study.get_trials(deepcopy=False)[: trial.number]:
            if other.number not in self._keys:
                with contextlib.suppress(KeyError, ValidationError):  # it has no parameters yet, or never will
                    self._keys[other.number] = self._key(other.params)
        return {key for number, key in self._keys.items() if number < trial.number}

    def _independent(self, study: Study, trial: FrozenTrial, name: str, attempt: int) -> Any:
        sampler = self._fresh(study, trial, attempt, name)
        return sampler.sample_independent(study, trial, name, self._distributions[name])

    def _fresh(self, study: Study, trial: FrozenTrial, attempt: int = 0, parameter: str = "") -> BaseSampler:
        again = [attempt] if attempt else []
        return self._new(seed_of(self._seed, self._stream, trial.number, parameter, *again), study, trial, attempt)


def seed_of(*parts: int | str) -> int:
    """Mix numbers and names to a seed of 32 bits."""
    numbers = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in parts]
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def was_enqueued(trial: FrozenTrial) -> bool:
    """Say whether a user's point was put into the study for this trial, as `Study.enqueue_trial` marks it."""
    return "fixed_params" in trial.system_attrs


def distributions_of(arm: Arm) -> dict[str, BaseDistribution]:
    """Return what each parameter of an arm can be, by its name in the study."""
    return {parameter.name: distribution(parameter) for parameter in walk(parameter_tree(arm.space))}


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return Optuna's form of what a parameter can be."""
    domain = parameter.domain
    if domain.choice is not None:
        return CategoricalDistribution([branch.stored for branch in parameter.branches])
    if domain.int is not None:
        low, high = domain.int
        return IntDistribution(low, high)
    lowest, highest = domain.probes()
    return FloatDistribution(lowest, highest, log=domain.loguniform is not None)


def value_at(found: BaseDistribution, u: float) -> Any:
    """Return the value of a distribution at `u` of [0, 1)."""
    if isinstance(found, CategoricalDistribution):
        return found.choices[int(u * len(found.choices))]
    if isinstance(found, IntDistribution):
        return found.low + int(u * (found.high - found.low + 1))
    assert isinstance(found, FloatDistribution)
    if found.log:
        value = float(np.exp(np.log(found.low) + u * (np.log(found.high) - np.log(found.low))))
    else:
        value = float(found.low + u * (found.high - found.low))
    return min(max(value, found.low), found.high)  # rounding may leave the range
