"""The different configurations of a space, and how many there are where its values have an end."""

import json
import math
from typing import Any

from pydantic import ValidationError

from mdr_tune.config.domains import Space
from mdr_tune.config.space import Parameter, Tree, draw, grid_points, parameter_tree, resolve
from mdr_tune.config.trial import TrialConfig

MOST_LISTED = 1024
"""Combinations that a computer tries in a fraction of a second."""


def configuration_key(trial: TrialConfig) -> str:
    """Return a text that two trials share if, and only if, they are trained alike.

    Every default and every `auto` is written out: levels {count: 1, spread: 2} are those of {count: 1, spread: 3}. What
    the training does not look at is left out: a learning rate of the loss's parameters where it has none.
    """
    sections = {
        "loss": trial.loss.in_force(),
        "optimizer": trial.optimizer.in_force(trial.epochs, trial.loss.has_parameters),
        "mdr": None if trial.mdr is None else trial.mdr.in_force(trial.optimizer.clip_gradient_norm is not None),
        "curves": trial.measured_curves,
    }
    rest = {key: value for key, value in trial.flat().items() if key.partition(".")[0] not in sections}
    return json.dumps({**rest, **sections}, sort_keys=True)


def parameters_of(tree: Tree, point: dict[str, Any]) -> dict[str, Any]:
    """Return by the trial's dotted keys what a study stores by name; KeyError if a parameter is not there."""
    return draw(tree, lambda parameter: point[parameter.name])


def num_points(tree: Tree) -> float:
    """Return how many combinations of values there are; infinity where a parameter has a range without end."""
    return math.prod(map(_num_values, tree))


def _num_values(parameter: Parameter) -> float:
    if parameter.branches:
        return sum(num_points(branch.children) for branch in parameter.branches)
    if parameter.domain.int is not None:
        low, high = parameter.domain.int
        return high - low + 1
    return math.inf


def listed_configurations(trial: TrialConfig, space: Space) -> dict[str, dict[str, Any]] | None:
    """Return a point of each different configuration, by its key: values by name in a study.

    Args:
        trial: The base trial.
        space: What is searched. Combinations that are no valid trial are left out.

    Returns:
        None where there is no end of combinations, or there are more than `MOST_LISTED`.
    """
    tree = parameter_tree(space)
    if num_points(tree) > MOST_LISTED:
        return None
    found: dict[str, dict[str, Any]] = {}
    for point in grid_points(space):
        try:
            found.setdefault(configuration_key(resolve(trial, space, parameters_of(tree, point))), point)
        except ValidationError:
            continue
    return found


def num_configurations(trial: TrialConfig, space: Space) -> int | None:
    """Return how many different configurations there are; None where there is no end of them.

    Of more than `MOST_LISTED` combinations it is not known which are the same: then all of them count.
    """
    combinations = num_points(parameter_tree(space))
    if math.isinf(combinations):
        return None
    listed = listed_configurations(trial, space)
    return int(combinations) if listed is None else len(listed)
