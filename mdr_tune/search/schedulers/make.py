"""Build the scheduler of an arm from its configuration."""

from collections.abc import Sequence
from typing import assert_never

from mdr_tune.config.arms import Arm
from mdr_tune.config.schedulers import (
    AshaSchedulerConfig,
    HyperBandSchedulerConfig,
    MedianSchedulerConfig,
    NoSchedulerConfig,
    PbtSchedulerConfig,
    SchedulerConfig,
)
from mdr_tune.search.schedulers.early_stopping import asha, median_stopping
from mdr_tune.search.schedulers.hyperband import HyperBand
from mdr_tune.search.schedulers.lane_scheduler import LaneScheduler
from mdr_tune.search.schedulers.pbt import OnChange, PopulationBasedTraining


def make_scheduler(
    config: SchedulerConfig,
    *,
    arm: Arm,
    seed: int,
    max_epochs: int,
    num_lanes: int,
    on_change: OnChange,
    earlier: Sequence[int] = (),
) -> LaneScheduler:
    """Return the scheduler of an arm. The scheduler gets the metric later, from Tune's TuneConfig.

    Args:
        config: Options of the scheduler. Their class determines which scheduler is made.
        arm: Arm whose trials are scheduled.
        seed: Seed of the random choices of population based training.
        max_epochs: Number of epochs of the longest trial.
        num_lanes: Number of trials that can run side by side.
        on_change: Function that population based training calls when a trial takes over a state; see `OnChange`.
        earlier: Number of configurations that the arm had before each extension of the search; empty if it was never
            extended.
    """
    ends = (*earlier, arm.trials)
    if isinstance(config, AshaSchedulerConfig):
        return asha(num_lanes, max_epochs, config.grace_epochs, config.reduction_factor)
    if isinstance(config, MedianSchedulerConfig):
        return median_stopping(num_lanes, config.grace_epochs, config.min_trials)
    if isinstance(config, HyperBandSchedulerConfig):
        return HyperBand(num_lanes, ends, max_epochs, config.reduction_factor)
    if isinstance(config, PbtSchedulerConfig):
        return PopulationBasedTraining(
            num_lanes,
            arm=arm,
            ends=ends,
            seed=seed,
            max_epochs=max_epochs,
            interval_epochs=config.interval_epochs,
            quantile=config.quantile,
            keys=config.perturb,
            resample=config.resample,
            on_change=on_change,
        )
    if isinstance(config, NoSchedulerConfig):
        return LaneScheduler(num_lanes)
    assert_never(config)
