"""Find and count the different configurations of a search space."""

import json
import math
from typing import Any

from pydantic import ValidationError

from mdr_tune.config.domains import Space
from mdr_tune.config.space import Parameter, Tree, draw, grid_points, parameter_tree, resolve
from mdr_tune.config.trial import TrialConfig

MOST_LISTED = 1024
"""Largest number of combinations of values that is listed. A computer tries this many in a fraction of a second."""


def configuration_key(trial: TrialConfig) -> str:
    """Return a text for the training of `trial`: two trials have the same text if and only if they train alike.

    Each default and each `auto` is replaced by the value that is used. For example, the levels {count: 1, spread: 2}
    and {count: 1, spread: 3} are equal, since a single level has no spread. Values without effect on the training are
    left out, such as `optimizer.loss_learning_rate` for a loss without parameters. The seed counts.
    """
    sections = {
        "backbone": trial.backbone.in_force(trial.epochs),
        "loss": trial.loss.in_force(),
        "optimizer": trial.optimizer.in_force(
            trial.epochs,
            trial.loss.has_parameters,
            trial.embedding.has_parameters,
            trial.backbone.trains_in(trial.epochs),
        ),
        "mdr": None if trial.mdr is None else trial.mdr.in_force(trial.optimizer.clip_gradient_norm is not None),
        "memory": None if trial.memory is None else trial.memory.in_force(trial.epochs, trial.mdr is not None),
        "curves": trial.measured_curves,
    }
    rest = {key: value for key, value in trial.flat().items() if key.partition(".")[0] not in sections}
    return json.dumps({**rest, **sections}, sort_keys=True)


def parameters_of(tree: Tree, point: dict[str, Any]) -> dict[str, Any]:
    """Convert `point` of `tree` from a study's names and values to a trial record's dotted keys and values.

    Raise KeyError if `point` lacks a parameter.
    """
    return draw(tree, lambda parameter: point[parameter.name])


def num_points(tree: Tree) -> float:
    """Return the number of combinations of values of `tree`; infinity if a parameter has a range of real numbers."""
    return math.prod(map(_num_values, tree))


def _num_values(parameter: Parameter) -> float:
    if parameter.branches:
        return sum(num_points(branch.children) for branch in parameter.branches)
    if parameter.domain.int is not None:
        low, high = parameter.domain.int
        return high - low + 1
    return math.inf


def listed_configurations(trial: TrialConfig, space: Space) -> dict[str, dict[str, Any]] | None:
    """Return one point of `space` for each different configuration, as {`configuration_key`: point}.

    A point maps the parameters' names in a study to values. Points that make the base `trial` not valid are left out.
    Return None if `space` has more than `MOST_LISTED` combinations of values.
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
    """Return the number of different configurations of the base `trial` in `space`; None if it is infinite.

    If `space` has more than `MOST_LISTED` combinations of values, repeated configurations are counted each time.
    """
    combinations = num_points(parameter_tree(space))
    if math.isinf(combinations):
        return None
    listed = listed_configurations(trial, space)
    return int(combinations) if listed is None else len(listed)
