"""The different configurations of a space, and their number if it is finite."""

import json
import math
from typing import Any

from pydantic import ValidationError

from mdr_tune.config.domains import Space
from mdr_tune.config.space import Parameter, Tree, draw, grid_points, parameter_tree, resolve
from mdr_tune.config.trial import TrialConfig

MOST_LISTED = 1024
"""Largest number of combinations that is listed: a computer tries as many in a fraction of a second."""


def configuration_key(trial: TrialConfig) -> str:
    """Return a text that is equal for two trials if, and only if, they are trained alike.

    Every default and every `auto` is written out: the levels {count: 1, spread: 2} are those of {count: 1, spread: 3}.
    Values that the training does not use are left out: the learning rate of a loss's parameters, if it has none.
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
    """Return the values of `point`, which a study stores by name, by the trial's dotted keys.

    Raises:
        KeyError: `point` lacks a parameter.
    """
    return draw(tree, lambda parameter: point[parameter.name])


def num_points(tree: Tree) -> float:
    """Return the number of combinations of values; infinity if a parameter has a range of real numbers."""
    return math.prod(map(_num_values, tree))


def _num_values(parameter: Parameter) -> float:
    if parameter.branches:
        return sum(num_points(branch.children) for branch in parameter.branches)
    if parameter.domain.int is not None:
        low, high = parameter.domain.int
        return high - low + 1
    return math.inf


def listed_configurations(trial: TrialConfig, space: Space) -> dict[str, dict[str, Any]] | None:
    """List the different configurations of a space.

    Args:
        trial: The base trial.
        space: The search space. Combinations that make no valid trial are left out.

    Returns:
        The first point of each configuration (values by their name in a study), by `configuration_key`; None if there
        are more than `MOST_LISTED` combinations.
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
    """Return the number of different configurations; None if it is infinite.

    Of more than `MOST_LISTED` combinations all are counted, since it is not checked which of them are the same.
    """
    combinations = num_points(parameter_tree(space))
    if math.isinf(combinations):
        return None
    listed = listed_configurations(trial, space)
    return int(combinations) if listed is None else len(listed)
