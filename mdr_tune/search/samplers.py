"""The kinds of samplers: how a trial of a study is drawn. `SeededSampler` asks one of them for each trial."""

import warnings
from typing import Any, assert_never

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from mdr_tune.config.arms import Arm
from mdr_tune.config.space import grid_points, is_conditional
from mdr_tune.config.sweep import SearchConfig
from mdr_tune.search.seeded_sampler import (
    NewSampler,
    SeededSampler,
    distributions_of,
    seed_of,
    value_at,
    was_enqueued,
)

MAX_RANDOM_TRIALS = 10


def make_sampler(search: SearchConfig, arm: Arm, legacy_name: str | None = None) -> BaseSampler:
    """Return the sampler of an arm's study, which also tries the arm's `start_from` first.

    Args:
        search: Names the sampler and its seed.
        arm: Its space says whether parameters depend on each other; TPE and the Gaussian process draw a third of its
            trials at random, at most 10, before they model.
        legacy_name: Name of a study that goes on as it began: seeded by its name, with repeated configurations.
    """
    distributions = distributions_of(arm)
    stream = arm.name if legacy_name is None else legacy_name
    startup = min(MAX_RANDOM_TRIALS, max(1, arm.trials // 3))
    new: NewSampler
    if search.sampler == "tpe":
        new = _NewTpe(startup, is_conditional(arm.space))
    elif search.sampler == "gp":
        new = _NewGp(startup)
    elif search.sampler == "cmaes":
        new = _NewCmaEs()
    elif search.sampler == "qmc":
        new = _NewSobol(seed_of(search.seed, stream), len(arm.start_from), distributions)
    elif search.sampler == "grid":
        new = _NewGrid(grid_points(arm.space), distributions)
    elif search.sampler == "random":
        new = NewSampler()
    else:
        assert_never(search.sampler)
    return SeededSampler(search.seed, stream, new, arm, repeats=legacy_name is not None or search.may_repeat)


class _NewTpe(NewSampler):
    """Tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011).

    With one objective of all parameters together, as Optuna's default is. With conditional parameters too: those that
    occur together are modelled together.
    """

    def __init__(self, startup: int, conditional: bool) -> None:
        self._arguments: dict[str, Any] = {"n_startup_trials": startup}
        if conditional:
            self._arguments.update(group=True, multivariate=True)

    def __call__(self, seed: int, study: Study, trial: FrozenTrial, attempt: int = 0) -> BaseSampler:
        with without_warnings():
            return TPESampler(seed=seed, **self._arguments)


class _NewGp(NewSampler):
    """A Gaussian process and the expected improvement of its hypervolume, where there are two objectives.

    It learns from trials that came to their end, and of the parameters that all of them have.
    """

    def __init__(self, startup: int) -> None:
        self._startup = startup

    def __call__(self, seed: int, study: Study, trial: FrozenTrial, attempt: int = 0) -> BaseSampler:
        with without_warnings():
            return GPSampler(seed=seed, n_startup_trials=self._startup, warn_independent_sampling=False)


class _NewCmaEs(NewSampler):
    """CMA-ES (Hansen, 2016). Its distribution is kept in the study, with the trials; choices are drawn at random."""

    def __call__(self, seed: int, study: Study, trial: FrozenTrial, attempt: int = 0) -> BaseSampler:
        with without_warnings():
            return CmaEsSampler(seed=seed, consider_pruned_trials=True, warn_independent_sampling=False)


class without_warnings(warnings.catch_warnings):  # noqa: N801 - a context manager
    """No word on what Optuna calls experimental: it is not the user's to change."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", ExperimentalWarning)


class _NewSobol(NewSampler):
    """Points of one scrambled Sobol sequence over all parameters, those of choices not taken too.

    What an earlier trial had is passed over: another attempt is the next point.

    Optuna's own counts in the study which point comes next, so that a crash loses points, and it takes its parameters
    from the first trial, which may lack some.
    """

    def __init__(self, scramble: int, num_start: int, distributions: dict[str, BaseDistribution]) -> None:
        self._scramble, self._num_start, self._distributions = scramble, num_start, distributions

    def __call__(self, seed: int, study: Study, trial: FrozenTrial, attempt: int = 0) -> BaseSampler:
        before = study.get_trials(deepcopy=False)[: trial.number]
        others = min(self._num_start, trial.number) + sum(map(was_enqueued, before))
        return _Together(seed, self._distributions, self._point(trial.number - others + attempt))

    def _point(self, index: int) -> dict[str, Any]:
        from scipy.stats.qmc import Sobol  # here: it takes a while to import

        generator = np.random.default_rng(self._scramble)
        sequence = Sobol(len(self._distributions), scramble=True, rng=generator)
        if index > 0:  # 0 overflows
            sequence.fast_forward(index)
        names = sorted(self._distributions)
        return {
            name: value_at(self._distributions[name], u) for name, u in zip(names, sequence.random(1)[0], strict=True)
        }


class _NewGrid(NewSampler):
    """The combinations of a grid, in order."""

    def __init__(self, points: list[dict[str, Any]], distributions: dict[str, BaseDistribution]) -> None:
        self._points, self._distributions = points, distributions

    def __call__(self, seed: int, study: Study, trial: FrozenTrial, attempt: int = 0) -> BaseSampler:
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
