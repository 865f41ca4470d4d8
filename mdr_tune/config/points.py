"""Convert points of the search space, which a search tries first, between a user's form and a study's form."""

from typing import Any

from pydantic import ValidationError

from mdr_tune.config.domains import Space, describe_value
from mdr_tune.config.hints import meant_dotted
from mdr_tune.config.space import Branch, Parameter, Tree, apply_settings, parameter_tree
from mdr_tune.config.trial import TrialConfig


def encode_point(space: Space, point: dict[str, Any]) -> dict[str, Any]:
    """Convert `point`, an entry of `start_from`, to a study's form: stored values by the parameters' names in `space`.

    `point` has values by the trial's dotted keys, some of which may be left out. A choice is given by its label in
    records, or as the sweep file writes it. A key inside of a choice is given by its dotted key (`loss.margin`), or in
    the choice's mapping. Raise ValueError, which says why, if the entry is no point of `space`.
    """
    left: dict[str, Any] = dict(point)
    encoded: dict[str, Any] = {}
    tree = parameter_tree(space)
    _encode(tree, left, encoded)
    for key in left:
        if key in point_keys(space):
            raise ValueError(f"{key} exists only where its choice is taken: name that choice beside it, or drop {key}")
        hint = meant_dotted(key, sorted(point_keys(space)))
        raise ValueError(f"{key} is not searched: it is none of {', '.join(sorted(space))}.{hint}")
    return encoded


def _encode(tree: Tree, left: dict[str, Any], encoded: dict[str, Any]) -> None:
    """Move the values of `tree`'s parameters from `left` (by dotted key) to `encoded` (by name in the study)."""
    _split_levels(tree, left)
    for parameter in tree:
        branch: Branch | None = parameter.branches[0] if not parameter.is_drawn else None
        if parameter.key in left:
            value = left.pop(parameter.key)
            if not parameter.branches:
                _check_in_range(parameter, value)
                encoded[parameter.name] = value
                continue
            branch, inner = _branch_of(parameter, value)
            left.update(inner)
            if parameter.is_drawn:
                encoded[parameter.name] = branch.stored
        if branch is not None:
            _encode(branch.children, left, encoded)


def _split_levels(tree: Tree, left: dict[str, Any]) -> None:
    """Replace levels in `left` by their count, spread and offset, under dotted keys, if `tree` searches these."""
    grids = {parameter.key.rpartition(".")[0]: parameter.levels for parameter in tree if parameter.levels is not None}
    for key, grid in grids.items():
        if key in left:
            left.update({f"{key}.{name}": part for name, part in grid.grid_of(left.pop(key)).items()})


def _check_in_range(parameter: Parameter, value: Any) -> None:
    if not parameter.domain.contains(value):
        text = f"{value} cannot be drawn: the space has {parameter.domain.describe()}"
        raise ValueError(f"{parameter.key}: {text}")


def _branch_of(parameter: Parameter, value: Any) -> tuple[Branch, dict[str, Any]]:
    """Return the branch of `parameter` that `value` stands for, and the values that it gives for keys inside of it."""
    for branch, written in zip(parameter.branches, parameter.domain.choice or [], strict=True):
        if value == written or value == branch.label:
            return branch, {}
    for branch in parameter.branches if isinstance(value, dict) else ():
        plain, given = _without(value, branch.inside)
        if branch.inside and plain == branch.value:
            return branch, {f"{parameter.key}.{key}": item for key, item in given.items()}
    text = f"{describe_value(value)} cannot be drawn: the space has {parameter.domain.describe()}"
    raise ValueError(f"{parameter.key}: {text}")


def _without(section: dict[str, Any], keys: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return `section` without the dotted `keys`, and the removed values by dotted key."""
    plain: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for key, item in section.items():
        deeper = tuple(name.removeprefix(f"{key}.") for name in keys if name.startswith(f"{key}."))
        if key in keys:
            given[key] = item
        elif deeper and isinstance(item, dict):
            plain[key], found = _without(item, deeper)
            given.update({f"{key}.{name}": value for name, value in found.items()})
        else:
            plain[key] = item
    return plain, given


def point_keys(space: Space) -> set[str]:
    """Return the dotted keys that a point of `space` may have. Keys inside of choices are included."""
    return _all_keys(parameter_tree(space))


def _all_keys(tree: Tree) -> set[str]:
    keys: set[str] = set()
    for parameter in tree:
        keys.add(parameter.key)
        if parameter.levels is not None:
            keys.add(parameter.key.rpartition(".")[0])
        for branch in parameter.branches:
            keys |= _all_keys(branch.children)
    return keys


def point_of_trial(space: Space, trial: TrialConfig) -> tuple[dict[str, Any], list[str]]:
    """Return the values of `trial` that `space` can draw, and a text for each value that it cannot draw.

    The values are in the form of an entry of `start_from`. A text is the key and the value: `loss.margin 0.9`.
    """
    point: dict[str, Any] = {}
    missing: list[str] = []
    _read(parameter_tree(space), trial, trial.all_values(), point, missing)
    return point, missing


def _read(tree: Tree, trial: TrialConfig, dump: dict[str, Any], point: dict[str, Any], missing: list[str]) -> None:
    for parameter in tree:
        if parameter.levels is not None:
            _read_level_part(parameter, dump, point, missing)
        elif not parameter.branches:
            value = _lookup(dump, parameter.key)
            if parameter.domain.contains(value):
                point[parameter.key] = value
            else:
                missing.append(f"{parameter.key} {describe_value(value)}")
        else:
            branch = next((b for b in parameter.branches if _is_taken(parameter, b, trial, dump)), None)
            if branch is None:
                missing.append(f"{parameter.key} {_in_short(_lookup(dump, parameter.key))}")
                continue
            if parameter.is_drawn:
                point[parameter.key] = branch.label
            _read(branch.children, trial, dump, point, missing)


def _read_level_part(parameter: Parameter, dump: dict[str, Any], point: dict[str, Any], missing: list[str]) -> None:
    assert parameter.levels is not None
    key, _, part = parameter.key.rpartition(".")
    levels = _lookup(dump, key)
    try:
        value = parameter.levels.grid_of(levels)[part]
    except ValueError:
        text = f"{key} {describe_value(levels)}"
        missing += [] if text in missing else [text]
        return
    if parameter.is_drawn:
        point[parameter.key] = value


def _is_taken(parameter: Parameter, branch: Branch, trial: TrialConfig, dump: dict[str, Any]) -> bool:
    """Return whether `trial` takes the choice `branch` of `parameter`. `dump` is the trial as a dictionary.

    To find out, the value of `branch` is set in the trial. The keys that are searched inside of the branch get the
    values that the trial has already. The branch is taken if the result equals the trial.
    """
    inner = {f"{parameter.key}.{key}": _lookup(dump, f"{parameter.key}.{key}") for key in branch.inside}
    try:
        return apply_settings(trial, {parameter.key: branch.value, **inner}) == trial
    except (ValidationError, TypeError):
        return False


def _in_short(value: Any) -> str:
    """Return a short text for `value`: of a section only the name, since `value` has all its keys with defaults."""
    return str(value["name"]) if isinstance(value, dict) and "name" in value else describe_value(value)


def _lookup(dump: dict[str, Any], key: str) -> Any:
    found: Any = dump
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
