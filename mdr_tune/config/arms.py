"""The arms of a sweep: the search with MDR, and the baselines, each searched with the same budget."""

from dataclasses import dataclass
from typing import Any

from mdr_tune.config.domains import Space
from mdr_tune.config.points import encode_point, point_keys
from mdr_tune.config.space import grid_points, searched
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


def num_trials(sweep: SweepConfig, space: Space, budget: int) -> int:
    """Return how many trials a search over `space` has: its grid, or its budget, or one if nothing is searched."""
    if not searched(space):
        return 1
    return len(grid_points(space)) if sweep.search.sampler == "grid" else budget


def given_points(sweep: SweepConfig) -> list[dict[str, Any]]:
    """Return the points of `start_from`; none as long as those of another sweep are not resolved."""
    return sweep.start_from if isinstance(sweep.start_from, list) else []


def main_arm(sweep: SweepConfig) -> Arm:
    """Return the search that the file describes."""
    points = tuple(filter(None, (encode_point(sweep.space, point) for point in given_points(sweep))))
    name = ABLATION_ARM if sweep.trial.mdr is None or "mdr" in sweep.space else MAIN_ARM
    trial = sweep.trial.model_copy(update={"seed": sweep.training_seeds[0]})
    return Arm(name, trial, sweep.space, points, num_trials(sweep, sweep.space, sweep.search.trials))


def arms(sweep: SweepConfig) -> list[Arm]:
    """Return the main search and its baselines, in the order in which they run."""
    first = main_arm(sweep)
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
        trials = num_trials(sweep, space, sweep.search.baseline_trials or sweep.search.trials)
        result.append(Arm(name, trial, space, unique, trials))
    return result
