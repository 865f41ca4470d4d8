"""The search algorithm and the scheduler of one arm, in Ray Tune's terms."""

from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from mdr_tune.config.arms import Arm
from mdr_tune.config.space import Domain, decode_sample, grid_points, resolve, searched
from mdr_tune.config.sweep import SearchConfig, SweepConfig

MAX_RANDOM_TRIALS = 10


class ArmSearch(OptunaSearch):
    """OptunaSearch over an arm's space; suggests whole trials, so that nothing behind it knows the space.

    A suggestion is `{"trial": <nested TrialConfig>, "parameters": <the values drawn, by dotted key>}`. Of a grid, every
    point is enqueued, so that the sampler has nothing to do.
    """

    def __init__(self, arm: Arm, search: SearchConfig, metric: str, storage: Path, study_name: str) -> None:
        self._arm = arm
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        super().__init__(
            {key: distribution(domain) for key, domain in searched(arm.space).items()},
            metric=metric,
            mode="max",
            sampler=make_sampler(search, arm),
            study_name=study_name,
            storage=RDBStorage(f"sqlite:///{storage}"),
        )
        if not self._ot_study.trials:  # OptunaSearch's points_to_evaluate must name every parameter, and come again
            for point in grid_points(arm.space) if search.sampler == "grid" else arm.start_from:
                self._ot_study.enqueue_trial(point)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial."""
        sampled = super().suggest(trial_id)
        return None if sampled is None else suggestion(self._arm, sampled)


def suggestion(arm: Arm, sampled: dict[str, Any]) -> dict[str, Any]:
    """Return what Tune passes on as a trial's config."""
    parameters = decode_sample(arm.space, sampled)
    return {"trial": resolve(arm.trial, arm.space, parameters).model_dump(), "parameters": parameters}


def distribution(domain: Domain) -> BaseDistribution:
    """Return Optuna's form of a domain."""
    if domain.choice is not None:
        return CategoricalDistribution([domain.encode(value) for value in domain.choice])
    if domain.int is not None:
        low, high = domain.int
        return IntDistribution(low, high)
    lowest, highest = domain.probes()
    return FloatDistribution(lowest, highest, log=domain.loguniform is not None)


def make_sampler(search: SearchConfig, arm: Arm) -> BaseSampler:
    """Return the sampler, seeded. TPE draws a third of the trials at random, at most 10, before it models."""
    if search.sampler != "tpe":
        return RandomSampler(seed=search.seed)
    return TPESampler(seed=search.seed, n_startup_trials=min(MAX_RANDOM_TRIALS, max(1, arm.trials // 3)))


def make_scheduler(sweep: SweepConfig, max_epochs: int) -> TrialScheduler:
    """Return Tune's scheduler; metric and mode come from the TuneConfig."""
    scheduler = sweep.search.scheduler
    if scheduler.name == "none":
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="epoch",
        max_t=max_epochs,
        grace_period=scheduler.grace_epochs,
        reduction_factor=scheduler.reduction_factor,
    )
