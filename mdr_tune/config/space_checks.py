"""Checks of a search space: each key can be searched, and every value of its domain makes a valid trial."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from mdr_tune.config.configurations import configuration_key, num_points, parameters_of
from mdr_tune.config.domains import Domain, LevelsDomain, Space, describe_value
from mdr_tune.config.explain import explain
from mdr_tune.config.hints import meant_dotted
from mdr_tune.config.space import (
    Parameter,
    Tree,
    apply_settings,
    choice_combinations,
    grid_points,
    parameter_tree,
    resolve,
    trial_keys,
)
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.util.nearest_name import nearest_name

Path = tuple[str, ...]
"""Path of a key in the sweep file."""
Problems = list[tuple[Path, str]]
"""Problems that a check has found: for each, the path of its key and a message."""
CHOOSES_KEYS = ("data.name", "augmentation.name", "loss.name", "miner.name", "optimizer.schedule.name")
"""Keys whose value decides which other keys their section has. They can be searched only with the whole section."""
MAY_BE_A_NAME = ("embedding.head", "backbone.train")
"""Sections that may be a name instead, so that they have no keys."""
MOST_COMBINATIONS = 4096


def space_problems(sweep: SweepConfig) -> Problems:
    """Return the problems of single keys in the space of `sweep`; if there are none, of combinations of values."""
    return key_problems(sweep) or _combination_problems(sweep)


def key_problems(sweep: SweepConfig) -> Problems:
    """Return the problems of keys of `sweep` that cannot be searched, or whose values make the trial not valid."""
    problems: Problems = []
    keys = trial_keys(sweep.trial)
    for key, domain in sweep.space.items():
        whole = next((other for other in sweep.space if key.startswith(f"{other}.")), None)
        if whole is not None:
            problems.append((("space", key), f"{whole} is searched as a whole: give {key} in its choices"))
        else:
            problem = _problem_of_key(sweep.trial, key, domain, keys)
            problems += [(("space", key), problem)] if problem else domain_problems(sweep.trial, key, domain)
    return problems


def _problem_of_key(trial: TrialConfig, key: str, domain: Domain | LevelsDomain, keys: list[str]) -> str | None:
    if key in CHOOSES_KEYS:
        section = key.removesuffix(".name")
        return f"other keys depend on it: search {section}: {{choice: [{{name: ...}}, ...]}}"
    if key.startswith("mdr.") and trial.mdr is None:
        return "cannot be searched: trial.mdr is null; give trial.mdr a mapping"
    if key.startswith("memory.") and trial.memory is None:
        return "cannot be searched: trial.memory is null; give trial.memory a mapping, such as {}"
    if key.partition(".")[0] == "metrics":
        return "changes nothing in the training: set trial.metrics instead"
    section = key.rpartition(".")[0]
    if key not in keys and section in MAY_BE_A_NAME:
        return f"cannot be searched: trial.{section} is no mapping; give it one, or search {section}: {{choice: [...]}}"
    if key not in keys:
        is_last_part = any(known.endswith(f".{key}") for known in keys)
        guess = None if is_last_part else nearest_name(key, keys, 0.8)
        hint = f" Did you mean {guess}?" if guess else meant_dotted(key, keys, section) or f" Known: {', '.join(keys)}."
        return f"is no key of a trial.{hint}"
    if isinstance(domain, LevelsDomain) and key != "mdr.levels":
        return "count, spread and offset describe mdr.levels only"
    return None


def domain_problems(trial: TrialConfig, key: str, domain: Domain | LevelsDomain) -> Problems:
    """Return the problems of `trial` with the values of `domain` at `key`: the ends of a range, or each choice."""
    problems: Problems = []
    tree = parameter_tree({key: domain})
    usual = first_settings(tree) if isinstance(domain, LevelsDomain) else {}
    for parameter in tree:
        inner = parameter.key.removeprefix(key).strip(".")
        _try(trial, usual, parameter, ("space", key, *([inner] if inner else [])), problems)
    return problems


def _try(trial: TrialConfig, around: dict[str, Any], parameter: Parameter, path: Path, problems: Problems) -> None:
    """Try the values of `parameter`, at `path` in the sweep file, in `trial`, and append the problems to `problems`.

    `around` has values of other parameters, by dotted key. Parameters inside of a choice are tried if the choice itself
    has no problem.
    """
    around = {key: value for key, value in around.items() if not key.startswith(f"{parameter.key}.")}
    for branch_path, values, children in tries(parameter, path):
        here = {**around, **values}
        found = _problems_of(trial, {**here, **first_settings(children)}, parameter.key, branch_path)
        problems += [problem for problem in found if problem not in problems]
        for child in [] if found else children:
            inner = child.key.removeprefix(f"{parameter.key}.").split(".")
            _try(trial, {**here, **first_settings(children)}, child, (*branch_path, *inner), problems)


def tries(parameter: Parameter, path: Path) -> Iterator[tuple[Path, dict[str, Any], Tree]]:
    """Yield (path, {dotted key: value}, parameters inside) for each end of a range, or each choice, of `parameter`."""
    if not parameter.branches:
        for probe in parameter.domain.probes():
            yield path, {parameter.key: probe}, ()
    for i, branch in enumerate(parameter.branches):
        place = (*path, str(i)) if isinstance(branch.value, dict) else path
        yield place, {parameter.key: branch.value}, branch.children


def first_settings(tree: Tree) -> dict[str, Any]:
    """Return a value for each parameter of `tree`, by dotted key: its first choice, or the low end of its range."""
    result: dict[str, Any] = {}
    for parameter in tree:
        if parameter.branches:
            result[parameter.key] = parameter.branches[0].value
            result.update(first_settings(parameter.branches[0].children))
        else:
            result[parameter.key] = parameter.domain.probes()[0]
    return result


def _problems_of(trial: TrialConfig, values: dict[str, Any], key: str, path: Path) -> Problems:
    """Return the problems of `trial` after `values`, by dotted key, are set in it.

    `path` is the place of the tried value of `key` in the sweep file, such as `("space", "loss", "0")`. A problem of a
    key inside of that value gets the place of the key: `("space", "loss", "0", "margin")`. A problem of any other key
    gets `path`, and its message begins with that key.
    """
    try:
        apply_settings(trial, values)
    except ValidationError as error:
        found: Problems = []
        section = key.split(".")
        for where, message in explain(error, TrialConfig):
            if list(where[: len(section)]) == section:
                inside = where[len(section) :]
                hint = (
                    "; inside of a choice write {choice: [...]} to search it" if inside and ", got [" in message else ""
                )
                found.append(((*path, *inside), message + hint))
            else:
                found.append((path, f"{'.'.join(where)}: {message}"))
        return found
    return []


def _combination_problems(sweep: SweepConfig) -> Problems:
    """Return a problem if values of `sweep` do not fit each other, or if two combinations of a grid are the same trial.

    Combinations are not tried if there are more than MOST_COMBINATIONS. A computer tries that many in about a second.
    """
    is_listed = sweep.search.sampler_class.lists_all and num_points(parameter_tree(sweep.space)) <= MOST_COMBINATIONS
    found: dict[str, list[str]] = {}
    for said, parameters in _combinations(sweep.space):
        try:
            trial = resolve(sweep.trial, sweep.space, parameters)
        except ValidationError as error:
            key, message = explain(error, TrialConfig)[0]
            return [(("space",), f"{_together(said)} do not go together: {'.'.join(key)}: {message}")]
        if is_listed:
            found.setdefault(configuration_key(trial), []).append(_together(said))
    return _repeats(found)


def _together(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {describe_value(value)}" for name, value in values.items())


def _combinations(space: Space) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (values to name in a message, parameters of the trial) for each combination of values of `space`.

    If there are more than MOST_COMBINATIONS, as with any range of real numbers, only the choices are combined. A range
    inside of a taken choice is then at its low end, and any other range is left out. Nothing is yielded if the choices
    alone have too many combinations.
    """
    tree = parameter_tree(space)
    if num_points(tree) <= MOST_COMBINATIONS:
        for point in grid_points(space):
            parameters = parameters_of(tree, point)
            yield parameters, parameters
        return
    for choices in choice_combinations(space, MOST_COMBINATIONS) or []:
        yield choices, {**choices, **_low_ends(tree, choices)}


def _repeats(found: dict[str, list[str]]) -> Problems:
    """Return a problem if two combinations of a grid are the same trial.

    `found` has, by `configuration_key`, the texts of the combinations that give each configuration.
    """
    same = next((said for said in found.values() if len(said) > 1), None)
    if same is None:
        return []
    combinations = sum(map(len, found.values()))
    message = (
        f"of {combinations:,} combinations of the grid only {len(found):,} differ: ({same[0]}) and ({same[1]}) are the "
        "same trial. Either a choice stands twice, or a key does nothing beside some value of another, such as "
        "mdr.levels with mdr.weight 0. Then search the section as a whole: mdr: [null, {weight: 0.1, levels: [-3, 0, "
        "3]}, ...]"
    )
    return [(("space",), message)]


def _low_ends(tree: Tree, choices: dict[str, Any], inside: bool = False) -> dict[str, Any]:
    """Return, by dotted key, the low end of every range inside of the taken `choices` of `tree`.

    A section may not be valid without these values. `inside` is True if `tree` is a branch of a choice.
    """
    low: dict[str, Any] = {}
    for parameter in tree:
        if parameter.branches:
            taken = parameter.of_label(choices[parameter.key]) if parameter.is_drawn else parameter.branches[0]
            low.update(_low_ends(taken.children, choices, inside=True))
        elif inside:
            low[parameter.key] = parameter.domain.probes()[0]
    return low
