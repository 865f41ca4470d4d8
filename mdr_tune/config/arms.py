"""The arms of a sweep: the search with MDR, and the baselines, each searched with the same budget.

An arm trains no configuration twice, except in population based training. If an arm has fewer configurations than the
number of trials in the sweep file, it trains each configuration once.
"""

from dataclasses import dataclass, replace
from typing import Any

from mdr_tune.config.configurations import configuration_key, num_configurations, parameters_of
from mdr_tune.config.datasets import DataConfig
from mdr_tune.config.domains import Space
from mdr_tune.config.points import encode_point, point_keys
from mdr_tune.config.space import grid_points, parameter_tree, resolve, searched, section_variants
from mdr_tune.config.sweep import SweepConfig, with_fold
from mdr_tune.config.trial import TrialConfig
from mdr_tune.util.import_path import short_name

MAIN_ARM = "mdr"
ABLATION_ARM = "trial"
"""Name of the main arm if it has trials without MDR, because MDR is searched as a whole or is off."""


@dataclass(frozen=True)
class Arm:
    """One search of a sweep: its search space, and the base `trial`, which has the values that are not searched."""

    name: str
    trial: TrialConfig
    space: Space
    start_from: tuple[dict[str, Any], ...]
    """Points that are tried first, as `points.encode_point` returns them: values by the names of parameters."""
    trials: int
    """Number of trials that the search may have."""
    wanted: int = 0
    """Number of trials that the sweep file asks for. It is more than `trials` if the space has fewer configurations."""
    configurations: int | None = None
    """Number of different configurations in the space; None if infinite, if they may repeat, or without a search."""


def baseline_names(trial: TrialConfig) -> dict[str, dict[str, Any]]:
    """Return the changes of each baseline to `trial` (MDR paper, Table 1), such as `{"triplet": {"mdr": None}}`."""
    loss = short_name(trial.loss.name)
    baselines: dict[str, dict[str, Any]] = {loss: {"mdr": None}}
    if not trial.loss.compares_directions:  # otherwise, embeddings are on the unit sphere anyway
        baselines[f"{loss}_l2"] = {"mdr": None, "embedding": {**trial.embedding.model_dump(), "mode": "l2"}}
    return baselines


def baseline_trial(trial: TrialConfig, name: str) -> TrialConfig:
    """Return `trial` with the changes of the baseline `name`. Raise ValidationError if the result is not valid."""
    return TrialConfig.model_validate({**trial.model_dump(), **baseline_names(trial)[name]})


def baseline_space(space: Space) -> Space:
    """Return the search space of a baseline: `space` without the keys of MDR and without the embedding mode."""
    gone = ("mdr.", "embedding.mode")
    return {key: domain for key, domain in space.items() if not key.startswith(gone)}


def data_variants(sweep: SweepConfig) -> list[DataConfig]:
    """Return the different data sections of the trials of `sweep`, with each fold if it has folds."""
    found = section_variants(sweep.trial, sweep.space, "data")
    folds = sweep.search.folds
    return [with_fold(data, folds, fold) for fold in range(folds or 1) for data in found]


def given_points(sweep: SweepConfig) -> list[dict[str, Any]]:
    """Return the points that `start_from` of `sweep` lists; an empty list if `start_from` names another sweep."""
    return sweep.start_from if isinstance(sweep.start_from, list) else []


def repeated_points(sweep: SweepConfig) -> dict[int, int]:
    """Return {index: earlier index} of the points in `start_from` of `sweep` that repeat an earlier configuration.

    A point that lacks a searched key repeats no other point, since the value of that key is drawn.
    """
    first, again = dict[str, int](), dict[int, int]()
    for i, point in enumerate(given_points(sweep)):
        trial = trial_of_point(sweep, point)
        earlier = i if trial is None else first.setdefault(configuration_key(trial), i)
        if earlier != i:
            again[i] = earlier
    return again


def trial_of_point(sweep: SweepConfig, point: dict[str, Any]) -> TrialConfig | None:
    """Return the trial that `point`, an entry of `start_from`, describes; None if it lacks a searched key of `sweep`.

    Raise ValidationError if values of the point do not fit each other, ValueError if it is no point of the space.
    """
    encoded = encode_point(sweep.space, point)
    try:
        parameters = parameters_of(parameter_tree(sweep.space), encoded)
    except KeyError:
        return None
    return resolve(sweep.trial, sweep.space, parameters)


def main_arm(sweep: SweepConfig, more: int = 0, repeats: bool = False) -> Arm:
    """Return the arm that `sweep` itself describes. See `arms` for `more` and `repeats`."""
    again = {} if repeats or sweep.search.may_repeat else repeated_points(sweep)
    given = [point for i, point in enumerate(given_points(sweep)) if i not in again]
    points = tuple(filter(None, (encode_point(sweep.space, point) for point in given)))
    name = ABLATION_ARM if sweep.trial.mdr is None or "mdr" in sweep.space else MAIN_ARM
    data = with_fold(sweep.trial.data, sweep.search.folds, 0)
    trial = sweep.trial.model_copy(update={"seed": sweep.training_seeds[0], "data": data})
    return _with_budget(sweep, Arm(name, trial, sweep.space, points, sweep.search.trials + more), repeats)


def arms(sweep: SweepConfig, more: int = 0, repeats: bool = False) -> list[Arm]:
    """Return the arms of `sweep`, the main arm first and then the baselines, in the order in which they run.

    `more` is the number of trials by which each search was extended after its first launch. `repeats` is True if a
    search may train a configuration more than once. Population based training always may.
    """
    first = main_arm(sweep, more, repeats)
    result = [first]
    for name in sweep.baselines:
        trial = baseline_trial(first.trial, name)
        space = baseline_space(sweep.space)
        keys = point_keys(space)
        points = [
            encode_point(space, {key: value for key, value in point.items() if key in keys})
            for point in given_points(sweep)
        ]
        unique = tuple(point for i, point in enumerate(points) if point and point not in points[:i])
        wanted = (sweep.search.baseline_trials or sweep.search.trials) + more
        result.append(_with_budget(sweep, Arm(name, trial, space, unique, wanted), repeats))
    return result


def _with_budget(sweep: SweepConfig, arm: Arm, repeats: bool) -> Arm:
    """Return `arm` with its final number of trials, given an arm whose `trials` is the number asked for in the file.

    The final number is at most the number of configurations, unless `repeats` or `sweep` allows repetitions. A grid
    has a trial for each of its combinations. An arm that searches nothing has one trial.
    """
    if not searched(arm.space):
        return replace(arm, trials=1, wanted=1)
    if sweep.search.sampler_class.lists_all:
        size = len(grid_points(arm.space))
        return replace(arm, trials=size, wanted=size, configurations=size)
    if repeats or sweep.search.may_repeat:
        return replace(arm, wanted=arm.trials)
    there_are = num_configurations(arm.trial, arm.space)
    trials = arm.trials if there_are is None else min(arm.trials, there_are)
    return replace(arm, trials=trials, wanted=arm.trials, configurations=there_are)
