"""How the next trial of a study is drawn.

What is drawn depends on the seed, the study's name, the trial's number and the trials before it, on nothing else: no
generator lives on from one trial to the next. So an interrupted search goes on as it would have gone on.
"""

import warnings
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mdr_tune.config.arms import Arm
from mdr_tune.config.space import Parameter, grid_points, is_conditional, parameter_tree, walk
from mdr_tune.config.sweep import SearchConfig

MAX_RANDOM_TRIALS = 10


def make_sampler(search: SearchConfig, arm: Arm) -> BaseSampler:
    """Return the sampler of an arm's study, which also tries the arm's `start_from` first.

    Args:
        search: Names the sampler and its seed.
        arm: Its space says whether parameters depend on each other; TPE and the Gaussian process draw a third of its
            trials at random, at most 10, before they model.
    """
    distributions = {p.name: distribution(p) for p in walk(parameter_tree(arm.space))}
    startup = min(MAX_RANDOM_TRIALS, max(1, arm.trials // 3))
    new: _NewSampler
    if search.sampler == "tpe":
        new = _NewTpe(startup, is_conditional(arm.space))
    elif search.sampler == "gp":
        new = _NewGp(startup)
    elif search.sampler == "cmaes":
        new = _NewCmaEs()
    elif search.sampler == "qmc":
        new = _NewSobol(search.seed, len(arm.start_from), distributions)
    elif search.sampler == "grid":
        new = _NewGrid(grid_points(arm.space), distributions)
    else:
        new = _NewSampler()
    return SeededSampler(search.seed, new, distributions, arm.start_from)


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


class _NewSampler:
    """Makes the sampler of one trial: random."""

    def __call__(self, seed: int, study: Study, trial: FrozenTrial) -> BaseSampler:
        return RandomSampler(seed)


class SeededSampler(BaseSampler):
    """Draws each trial from a sampler of its own, made anew.

    Args:
        seed: Of the search.
        new: Makes a trial's sampler from a seed.
        distributions: Of all parameters, by name.
        start: The first trials have these values; what one leaves open is drawn parameter by parameter.
    """

    def __init__(
        self,
        seed: int,
        new: _NewSampler,
        distributions: dict[str, BaseDistribution],
        start: Sequence[dict[str, Any]] = (),
    ) -> None:
        self._seed, self._new, self._distributions, self._start = seed, new, distributions, start
        self._together: BaseSampler = RandomSampler(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are drawn together."""
        if trial.number < len(self._start):
            return {name: self._distributions[name] for name in self._start[trial.number]}
        if _was_enqueued(trial):
            return {}
        self._together = self._fresh(study, trial)
        return self._together.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw them, with the sampler that named them: Optuna asks for both at the trial's first parameter."""
        if trial.number < len(self._start):
            return dict(self._start[trial.number])
        if _was_enqueued(trial):
            return {}
        return self._together.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter by itself, the same whatever was drawn before it."""
        fresh = self._fresh(study, trial, param_name)
        return fresh.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Nothing to learn here: the study has it."""

    def _fresh(self, study: Study, trial: FrozenTrial, parameter: str = "") -> BaseSampler:
        return self._new(_seed_of(self._seed, study.study_name, trial.number, parameter), study, trial)


def _seed_of(*parts: int | str) -> int:
    """Mix numbers and names to a seed of 32 bits."""
    numbers = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in parts]
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _was_enqueued(trial: FrozenTrial) -> bool:
    """Say whether a user's point was put into the study for this trial, as `Study.enqueue_trial` marks it."""
    return "fixed_params" in trial.system_attrs


class _NewTpe(_NewSampler):
    """Tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011).

    With one objective of all parameters together, as Optuna's default is. With conditional parameters too: those that
    occur together are modelled together.
    """

    def __init__(self, startup: int, conditional: bool) -> None:
        self._arguments: dict[str, Any] = {"n_startup_trials": startup}
        if conditional:
            self._arguments.update(group=True, multivariate=True)

    def __call__(self, seed: int, study: Study, trial: FrozenTrial) -> BaseSampler:
        with without_warnings():
            return TPESampler(seed=seed, **self._arguments)


class _NewGp(_NewSampler):
    """A Gaussian process and the expected improvement of its hypervolume, where there are two objectives.

    It learns from trials that came to their end, and of the parameters that all of them have.
    """

    def __init__(self, startup: int) -> None:
        self._startup = startup

    def __call__(self, seed: int, study: Study, trial: FrozenTrial) -> BaseSampler:
        with without_warnings():
            return GPSampler(seed=seed, n_startup_trials=self._startup, warn_independent_sampling=False)


class _NewCmaEs(_NewSampler):
    """CMA-ES (Hansen, 2016). Its distribution is kept in the study, with the trials; choices are drawn at random."""

    def __call__(self, seed: int, study: Study, trial: FrozenTrial) -> BaseSampler:
        with without_warnings():
            return CmaEsSampler(seed=seed, consider_pruned_trials=True, warn_independent_sampling=False)


class without_warnings(warnings.catch_warnings):  # noqa: N801 - a context manager
    """No word on what Optuna calls experimental: it is not the user's to change."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", ExperimentalWarning)


class _NewSobol(_NewSampler):
    """Points of one scrambled Sobol sequence over all parameters, those of choices not taken too.

    Optuna's own counts in the study which point comes next, so that a crash loses points, and it takes its parameters
    from the first trial, which may lack some.
    """

    def __init__(self, seed: int, num_start: int, distributions: dict[str, BaseDistribution]) -> None:
        self._seed, self._num_start, self._distributions = seed, num_start, distributions

    def __call__(self, seed: int, study: Study, trial: FrozenTrial) -> BaseSampler:
        before = study.get_trials(deepcopy=False)[: trial.number]
        others = min(self._num_start, trial.number) + sum(map(_was_enqueued, before))
        return _Together(seed, self._distributions, self._point(study.study_name, trial.number - others))

    def _point(self, study_name: str, index: int) -> dict[str, Any]:
        from scipy.stats.qmc import Sobol  # here: it takes a while to import

        generator = np.random.default_rng(_seed_of(self._seed, study_name))
        sequence = Sobol(len(self._distributions), scramble=True, rng=generator)
        if index > 0:  # 0 overflows
            sequence.fast_forward(index)
        names = sorted(self._distributions)
        return {name: _at(self._distributions[name], u) for name, u in zip(names, sequence.random(1)[0], strict=True)}


def _at(found: BaseDistribution, u: float) -> Any:
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


class _NewGrid(_NewSampler):
    """The combinations of a grid, in order."""

    def __init__(self, points: list[dict[str, Any]], distributions: dict[str, BaseDistribution]) -> None:
        self._points, self._distributions = points, distributions

    def __call__(self, seed: int, study: Study, trial: FrozenTrial) -> BaseSampler:
        return _Together(seed, self._distributions, self._points[trial.number])


class _Together(RandomSampler):
    """Draws one point that is known before."""

    def __init__(self, seed: int, distributions: dict[str, BaseDistribution], point: dict[str, Any]) -> None:
        super().__init__(seed)
        self._distributions, self._point = distributions, point

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what the point has."""
        return {name: self._distributions[name] for name in self._point}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the point."""
        return self._point


def quiet_optuna() -> None:
    """Keep what Optuna says of its own workings off the terminal."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
