"""The search space: the searched keys of a trial, their values, and the functions that turn a sample into a trial.

The space is a tree of parameters. A choice has a branch for each of its values. The branch holds the parameters that
exist only if that value is taken:

    loss: [{name: triplet, margin: {uniform: [0.05, 0.5]}}, {name: arcface, scale: {loguniform: [8, 64]}}]

The record of a trial (`TrialRecord`) has the drawn values by the trial's dotted keys, such as
`{"loss": "triplet", "loss.margin": 0.2}`. An Optuna study has them by names that are unique in the space, such as
`loss[triplet].margin`: the margins of two losses may have different ranges.
"""

import copy
import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mdr_tune.config.domains import Domain, LevelsDomain, Space, describe_value, split_choice, tell_apart
from mdr_tune.config.strict_model import OpenModel, flatten, set_dotted
from mdr_tune.config.trial import MDRConfig, MemoryConfig, TrialConfig

__all__ = ["Domain", "LevelsDomain", "Space", "describe_value"]


@dataclass(frozen=True)
class Branch:
    """One value of a choice.

    Attributes:
        label: The value as a record has it. For a mapping this is a short text, such as its name.
        stored: The label as the study has it. It is JSON text if any value of the choice is a list.
        value: The value that the trial gets, without the keys that are searched inside of it.
        inside: Dotted keys that are searched inside of the value, without the choice's key: `margin` for `loss.margin`.
        children: Parameters of the keys in `inside`.
    """

    label: Any
    stored: Any
    value: Any
    inside: tuple[str, ...] = ()
    children: "tuple[Parameter, ...]" = ()


@dataclass(frozen=True)
class Parameter:
    """One searched key, or a part of the levels' grid: its count, spread or offset.

    Attributes:
        name: Name of the parameter in a study, unique in the space.
        key: Dotted key of the trial.
        domain: Values that the parameter can have.
        branches: Branches of a choice; none for a range.
        levels: Domain of the levels, if the parameter is a part of their grid; None for any other parameter.
    """

    name: str
    key: str
    domain: Domain
    branches: tuple[Branch, ...] = ()
    levels: LevelsDomain | None = None

    @property
    def is_drawn(self) -> bool:
        """True if the parameter has more than one possible value, so that it is drawn."""
        return len(self.branches) != 1

    def of_label(self, label: Any) -> Branch:
        """Return the branch with this `label`. Raise KeyError if there is none."""
        for branch in self.branches:
            if branch.label == label:
                return branch
        raise KeyError(f"{self.key}: {label!r}")

    def of_stored(self, stored: Any) -> Branch:
        """Return the branch with this `stored` value. Raise KeyError if there is none."""
        for branch in self.branches:
            if branch.stored == stored:
                return branch
        raise KeyError(f"{self.name}: {stored!r}")


Tree = tuple[Parameter, ...]
MOST_GRID_POINTS = 100_000


def parameter_tree(space: Space) -> Tree:
    """Return the parameters that every trial of `space` has. Their branches hold all other parameters."""
    return tuple(p for key, domain in space.items() for p in _parameters(key, key, domain))


def _parameters(key: str, name: str, domain: Domain | LevelsDomain) -> Iterator[Parameter]:
    if isinstance(domain, LevelsDomain):
        for part, values in domain.parts().items():
            (parameter,) = _parameters(f"{key}.{part}", f"{name}.{part}", values)
            yield Parameter(parameter.name, parameter.key, values, parameter.branches, domain)
        return
    choices = domain.choice or []
    as_text = any(isinstance(choice, list) for choice in choices)  # Optuna's choices are scalars
    branches = []
    for choice, label in zip(choices, choice_labels(choices), strict=True):
        value, inside = split_choice(choice)
        children = (
            child
            for inner, found in inside.items()
            for child in _parameters(f"{key}.{inner}", f"{name}[{describe_value(label)}].{inner}", found)
        )
        stored = json.dumps(label) if as_text else label
        branches.append(Branch(label, stored, value, tuple(inside), tuple(children)))
    yield Parameter(name, key, domain, tuple(branches))


def choice_labels(choices: list[Any]) -> list[Any]:
    """Return the label of each of `choices`.

    The label of a mapping is the shortest text that tells it from the others: its name, if this is unique. Any other
    choice is its own label.
    """
    sections = [choice for choice in choices if isinstance(choice, dict)]
    spoken: list[list[str]] = [
        [str(section.get("name", "")) for section in sections],
        [describe_value(split_choice(section)[0]) or "on" for section in sections],
        [describe_value(section) for section in sections],
        tell_apart(sections, describe_value),
    ]
    for said in spoken:
        labels = _labels(choices, said)
        told_apart = len({describe_value(label) for label in labels}) == len(labels)
        if not sections or (told_apart and all(said)):
            return labels
    return _labels(choices, [f"{choices.index(section) + 1}: {describe_value(section)}" for section in sections])


def _labels(choices: list[Any], said: list[str]) -> list[Any]:
    """Return `choices`, where the k-th mapping is replaced by the k-th text of `said`."""
    words = iter(said)
    return [next(words) if isinstance(choice, dict) else choice for choice in choices]


def walk(tree: Tree) -> Iterator[Parameter]:
    """Yield all drawn parameters of `tree`, including those in branches, in the order of the sweep file."""
    for parameter in tree:
        if parameter.is_drawn:
            yield parameter
        for branch in parameter.branches:
            yield from walk(branch.children)


def searched(space: Space) -> dict[str, Domain]:
    """Return the domain of each drawn parameter of `space`, by the parameter's name in a study."""
    return {parameter.name: parameter.domain for parameter in walk(parameter_tree(space))}


def is_conditional(space: Space) -> bool:
    """Return whether some parameter of `space` is drawn only in trials that take a certain choice."""
    tops = {parameter.name for parameter in parameter_tree(space)}
    return not searched(space).keys() <= tops


def draw(tree: Tree, choose: Callable[[Parameter], Any]) -> dict[str, Any]:
    """Return a sample of `tree`: values by the trial's dotted keys, without parameters in branches that are not taken.

    `choose(parameter)` returns a value in the form that a study stores. The sample has the value in a record's form.
    """
    drawn: dict[str, Any] = {}
    for parameter in tree:
        if not parameter.branches:
            drawn[parameter.key] = choose(parameter)
            continue
        branch = parameter.of_stored(choose(parameter)) if parameter.is_drawn else parameter.branches[0]
        if parameter.is_drawn:
            drawn[parameter.key] = branch.label
        drawn.update(draw(branch.children, choose))
    return drawn


def settings(tree: Tree, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the values to set in a trial, by dotted key. A section comes before the keys inside of it.

    `parameters` are the drawn values of `tree`, as a record has them. A drawn parameter without a value is left out.
    """
    result: dict[str, Any] = {}
    for parameter in tree:
        if parameter.is_drawn and parameter.key not in parameters:
            continue
        if not parameter.branches:
            result[parameter.key] = parameters[parameter.key]
            continue
        branch = parameter.of_label(parameters[parameter.key]) if parameter.is_drawn else parameter.branches[0]
        result[parameter.key] = branch.value
        result.update(settings(branch.children, parameters))
    return result


def fixed(space: Space) -> dict[str, Any]:
    """Return, by dotted key, the value of each key of `space` with only one possible value. Such keys are not drawn."""
    return settings(parameter_tree(space), {})


def apply_settings(trial: TrialConfig, values: dict[str, Any]) -> TrialConfig:
    """Return a valid copy of `trial` with the dotted keys of `values` set in order, or raise ValidationError."""
    tree = trial.model_dump()
    for key, value in values.items():
        set_dotted(tree, key, copy.deepcopy(value))  # a copy: later keys may be set inside of the value
    return TrialConfig.model_validate(tree)


def resolve(trial: TrialConfig, space: Space, parameters: dict[str, Any]) -> TrialConfig:
    """Return a copy of `trial` with the drawn `parameters`, by dotted key, and the values of `fixed(space)`."""
    return apply_settings(trial, settings(parameter_tree(space), parameters))


def grid_points(space: Space) -> list[dict[str, Any]]:
    """Return every combination of the searched values of `space`, each as a dictionary.

    A combination maps the names of the parameters in a study to the values that the study stores.

    Raise ValueError if a searched key has a range of real numbers, or if there are too many combinations.
    """
    tree = parameter_tree(space)
    size = _grid_size(tree)
    if size > MOST_GRID_POINTS:
        raise ValueError(
            f"a grid of {size:,} combinations is more than can be run, {MOST_GRID_POINTS:,}: leave some out"
        )
    return _grid(tree)


def _grid_size(tree: Tree) -> int:
    """Return the number of combinations of values in `tree`. A range of real numbers counts as one value."""
    ranges = (p.domain.int[1] - p.domain.int[0] + 1 for p in tree if p.domain.int is not None)
    return math.prod(ranges) * math.prod(sum(_grid_size(b.children) for b in p.branches) for p in tree if p.branches)


def _grid(tree: Tree) -> list[dict[str, Any]]:
    options = []
    for parameter in tree:
        if parameter.branches:
            taken = [({parameter.name: b.stored} if parameter.is_drawn else {}, b) for b in parameter.branches]
            options.append([{**own, **below} for own, branch in taken for below in _grid(branch.children)])
        elif parameter.domain.int is not None:
            low, high = parameter.domain.int
            options.append([{parameter.name: value} for value in range(low, high + 1)])
        else:
            text = f"not the range {parameter.domain.describe()}"
            raise ValueError(f"{parameter.key}: a grid needs values, {{choice: [...]}}, {text}")
    return [_merged(point) for point in itertools.product(*options)]


def _merged(parts: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


def choice_combinations(space: Space, most: int) -> list[dict[str, Any]] | None:
    """Return every combination of the choices in `space`, as a record has them. Parameters with a range are left out.

    Return None if there are more than `most` combinations.
    """
    tree = parameter_tree(space)
    return None if _num_combinations(tree) > most else _combinations(tree)


def _num_combinations(tree: Tree) -> int:
    return math.prod(sum(_num_combinations(b.children) for b in p.branches) for p in tree if p.branches)


def _combinations(tree: Tree) -> list[dict[str, Any]]:
    options = [
        [
            {**({p.key: branch.label} if p.is_drawn else {}), **below}
            for branch in p.branches
            for below in _combinations(branch.children)
        ]
        for p in tree
        if p.branches
    ]
    return [_merged(point) for point in itertools.product(*options)]


def extremes(tree: Tree) -> list[dict[str, Any]]:
    """Return every combination of the choices and of the two ends of each range of `tree`: {dotted key: value}."""
    options: list[list[dict[str, Any]]] = []
    for p in tree:
        below = [{p.key: b.value, **inner} for b in p.branches for inner in extremes(b.children)]
        options.append(below if p.branches else [{p.key: probe} for probe in p.domain.probes()])
    return [_merged(point) for point in itertools.product(*options)]


def section_variants(trial: TrialConfig, space: Space, section: str) -> list[Any]:
    """Return the different values that a `section` of `trial`, such as `backbone`, has in `space`.

    Of a range, only the two ends are tried.
    """
    inside = {key: domain for key, domain in space.items() if key == section or key.startswith(f"{section}.")}
    found = [getattr(apply_settings(trial, values), section) for values in extremes(parameter_tree(inside))]
    return [variant for i, variant in enumerate(found) if variant not in found[:i]]


def trial_keys(trial: TrialConfig) -> list[str]:
    """Return the dotted keys and sections of `trial` that a space may name, always with those of `mdr` and `memory`."""
    tree = trial.all_values()
    del tree["metrics"]
    tree["memory"] = MemoryConfig().all_values()
    tree["mdr"] = MDRConfig().all_values()
    tree["mdr"]["levels"] = []
    leaves = list(flatten(tree))
    for name, section in trial:
        if isinstance(section, OpenModel):
            leaves += [f"{name}.{argument}" for argument in section.known_arguments()]
    sections = {key.rsplit(".", depth)[0] for key in leaves for depth in range(1, key.count(".") + 1)}
    return sorted({*leaves, *sections})
