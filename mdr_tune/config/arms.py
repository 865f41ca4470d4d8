"""The arms of a sweep: the search with MDR, and the baselines, each searched with the same budget.

No arm trains a configuration twice: one whose space has fewer configurations than its budget has them all.
"""

from dataclasses import dataclass, replace
from typing import Any

from mdr_tune.config.configurations import configuration_key, num_configurations, parameters_of
from mdr_tune.config.domains import Space
from mdr_tune.config.points import encode_point, point_keys
from mdr_tune.config.space import grid_points, parameter_tree, resolve, searched
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig

MAIN_ARM = "mdr"
ABLATION_ARM = "trial"
"""Name of the main arm where MDR is among what is searched, or off: not all of its trials have it."""


@dataclass(frozen=True)
class Arm:
    """One search: a base trial, what is varied, and how many trials it may have."""

    name: str
    trial: TrialConfig
    space: Space
    start_from: tuple[dict[str, Any], ...]
    """By name in the study, see `points.encode_point`."""
    trials: int
    wanted: int = 0
    """Trials that the file asks for; more than `trials` where the space has fewer configurations."""
    configurations: int | None = None
    """How many different ones its space has; None where there is no end of them, or where they may repeat."""


def baseline_names(trial: TrialConfig) -> dict[str, dict[str, Any]]:
    """Return the baselines that exist for this trial, and what each changes in it (Table 1 of the paper)."""
    loss = trial.loss.name
    baselines: dict[str, dict[str, Any]] = {loss: {"mdr": None}}
    if not trial.loss.compares_directions:  # else it is on the unit sphere anyway
        baselines[f"{loss}_l2"] = {"mdr": None, "embedding": {**trial.embedding.model_dump(), "mode": "l2"}}
    return baselines


def baseline_trial(trial: TrialConfig, name: str) -> TrialConfig:
    """Return the trial of a baseline; pydantic's ValidationError if what it changes does not go with the rest."""
    return TrialConfig.model_validate({**trial.model_dump(), **baseline_names(trial)[name]})


def baseline_space(space: Space) -> Space:
    """Return what remains to be searched without MDR (and with the embedding mode given)."""
    gone = ("mdr.", "embedding.mode")
    return {key: domain for key, domain in space.items() if not key.startswith(gone)}


def given_points(sweep: SweepConfig) -> list[dict[str, Any]]:
    """Return the points of `start_from`; none as long as those of another sweep are not resolved."""
    return sweep.start_from if isinstance(sweep.start_from, list) else []


def repeated_points(sweep: SweepConfig) -> dict[int, int]:
    """Return the places in `start_from` of points that are an earlier one's configuration, each with that one's place.

    A point that leaves something open is not the same as another: what it leaves is drawn.
    """
    first, again = dict[str, int](), dict[int, int]()
    for i, point in enumerate(given_points(sweep)):
        trial = trial_of_point(sweep, point)
        earlier = i if trial is None else first.setdefault(configuration_key(trial), i)
        if earlier != i:
            again[i] = earlier
    return again


def trial_of_point(sweep: SweepConfig, point: dict[str, Any]) -> TrialConfig | None:
    """Return the trial that an entry of `start_from` is; None if it leaves something open.

    Raises:
        ValidationError: Its values do not go together.
        ValueError: It is no point of the space.
    """
    encoded = encode_point(sweep.space, point)
    try:
        parameters = parameters_of(parameter_tree(sweep.space), encoded)
    except KeyError:
        return None
    return resolve(sweep.trial, sweep.space, parameters)


def main_arm(sweep: SweepConfig, more: int = 0, repeats: bool = False) -> Arm:
    """Return the search that the file describes. Arguments as of `arms`."""
    again = {} if repeats or sweep.search.may_repeat else repeated_points(sweep)
    given = [point for i, point in enumerate(given_points(sweep)) if i not in again]
    points = tuple(filter(None, (encode_point(sweep.space, point) for point in given)))
    name = ABLATION_ARM if sweep.trial.mdr is None or "mdr" in sweep.space else MAIN_ARM
    trial = sweep.trial.model_copy(update={"seed": sweep.training_seeds[0]})
    return _with_budget(sweep, Arm(name, trial, sweep.space, points, sweep.search.trials + more), repeats)


def arms(sweep: SweepConfig, more: int = 0, repeats: bool = False) -> list[Arm]:
    """Return the main search and its baselines, in the order in which they run.

    Args:
        sweep: The whole file.
        more: Trials that were added to each search.
        repeats: Configurations may come again, as in a population they may anyway.
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
    """Return an arm, whose `trials` are those asked for, with those that it has: all of its grid, one if nothing is
    searched, otherwise as many as it has configurations, at most."""
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
