"""From a YAML file and `--set` overrides to a checked `SweepConfig`; every problem is a line a user can act on."""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mdr_tune.config.arms import baseline_names, baseline_space, baseline_trial
from mdr_tune.config.base import set_dotted
from mdr_tune.config.explain import explain
from mdr_tune.config.space import (
    Domain,
    LevelsDomain,
    Space,
    apply_parameters,
    choice_combinations,
    describe_value,
    encode_point,
    grid_points,
    resolve,
    searched,
    section_variants,
    trial_keys,
)
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.errors import UserError
from mdr_tune.registry import nearest_name


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number (YAML 1.2) and refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise UserError(f"{line}: a key must be plain text")
            if key_node.value in seen:
                raise UserError(f"{line}: the key {key_node.value!r} stands twice")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)


def parse_yaml(text: str) -> Any:
    """Parse one YAML document safely."""
    return yaml.load(text, Loader=_Loader)


def _lines_of(node: yaml.Node | None, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """Map each key path of a composed document to its line number, from 1."""
    lines: dict[tuple[str, ...], int] = {}
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            here = (*path, str(key_node.value))
            lines[here] = key_node.start_mark.line + 1
            lines.update(_lines_of(value_node, here))
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[(*path, str(i))] = item.start_mark.line + 1
            lines.update(_lines_of(item, (*path, str(i))))
    return lines


class _Source:
    """Where each key came from, so that a problem can name its file and line, or its --set."""

    def __init__(self, file: Path, lines: dict[tuple[str, ...], int]) -> None:
        self.file = file
        self.lines = lines
        self.overridden: dict[tuple[str, ...], str] = {}

    def problem(self, path: tuple[str, ...], message: str) -> str:
        """Return `file:line: key: message`."""
        key = ".".join(path)
        for depth in range(len(path), 0, -1):
            if path[:depth] in self.overridden:
                return f"--set {self.overridden[path[:depth]]}: {key}: {message}"
        line = next((self.lines[path[:d]] for d in range(len(path), 0, -1) if path[:d] in self.lines), None)
        place = f"{self.file}:{line}" if line else str(self.file)
        return f"{place}: {key}: {message}" if key else f"{place}: {message}"


def read_sweep(file: Path, overrides: list[str]) -> tuple[SweepConfig, list[str]]:
    """Read and check a sweep file.

    Args:
        file: The YAML file.
        overrides: `KEY=VALUE` strings of --set, in the file's key paths.

    Returns:
        The sweep, and notes on what the overrides changed beyond their own key.

    Raises:
        UserError: With one line for each problem found.
    """
    tree, source = _read_tree(file)
    notes = [note for text in overrides for note in _override(tree, text, source)]
    try:
        sweep = SweepConfig.model_validate(tree)
    except ValidationError as error:
        raise UserError("\n".join(source.problem(path, msg) for path, msg in explain(error, SweepConfig))) from None
    problems = _check_space(sweep) + _check_start_from(sweep) + _check_rest(sweep)
    if problems:
        raise UserError("\n".join(source.problem(path, message) for path, message in problems))
    return sweep, notes + _replaced_sections(tree, sweep)


def _replaced_sections(tree: dict[str, Any], sweep: SweepConfig) -> list[str]:
    """Note the sections of the trial that the file gives and a choice of the space replaces as a whole."""
    given = tree.get("trial") or {}
    return [
        f"trial.{key} has no say: each choice of space.{key} replaces all of it"
        for key in sweep.space
        if key in given and (key in TrialConfig.model_fields) and isinstance(given[key], dict)
    ]


def _read_tree(file: Path) -> tuple[dict[str, Any], _Source]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = sorted(str(p) for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        hint = f" There: {', '.join(beside)}." if beside else ""
        raise UserError(f"{file}: no such file.{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None
    try:
        lines = _lines_of(yaml.compose(text, Loader=_Loader))
        tree = parse_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        raise UserError(f"{place}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    except UserError as error:
        raise UserError(f"{file}:{error}") from None
    except RecursionError:
        raise UserError(f"{file}: an alias (*name) refers to the mapping that contains it") from None
    if not isinstance(tree, dict):
        raise UserError(f"{file}: expected a mapping with the keys {', '.join(SweepConfig.model_fields)}")
    return tree, _Source(file, lines)


def _override(tree: dict[str, Any], text: str, source: _Source) -> list[str]:
    """Apply one --set. Setting a key of the trial that is searched fixes it: that is what the user means."""
    key, equals, value_text = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"--set {text}: expected KEY=VALUE, such as --set trial.loss.margin=0.3")
    try:
        value = parse_yaml(value_text)
    except (yaml.YAMLError, UserError, RecursionError) as error:
        why = f" (line {error})" if isinstance(error, UserError) else ""
        raise UserError(f"--set {text}: {value_text!r} is not a YAML value{why}") from None
    if key.startswith("space."):  # the keys of the space contain dots themselves
        name, path = key.removeprefix("space."), ("space", key.removeprefix("space."))
        space = {} if tree.get("space") is None else tree["space"]
        if not isinstance(space, dict):
            raise UserError(f"--set {text}: space is no mapping, so that {name} cannot be set in it")
        tree["space"] = space
        if value is None:
            if name not in space:
                raise UserError(f"--set {text}: {name} is not in the space. There: {', '.join(space) or 'nothing'}.")
            _drop_searched(tree, name)
        else:
            space[name] = value
        source.overridden[path] = text
        return []
    set_dotted(tree, key, value)
    source.overridden[tuple(key.split("."))] = text
    return _fix_searched(tree, key)


def _fix_searched(tree: dict[str, Any], key: str) -> list[str]:
    """Take the searched keys that --set `key` fixes out of the space and out of start_from; return notes."""
    if not key.startswith("trial.") or not isinstance(tree.get("space"), dict):
        return []
    name = key.removeprefix("trial.")
    gone = [k for k in tree["space"] if k == name or k.startswith(name + ".") or name.startswith(k + ".")]
    for k in gone:
        _drop_searched(tree, k)
    return [f"{k} is fixed by --set and no longer searched" for k in gone]


def _drop_searched(tree: dict[str, Any], key: str) -> None:
    """Take one key out of the space, and out of the points to start from."""
    del tree["space"][key]
    points = tree.get("start_from")
    for point in points if isinstance(points, list) else []:
        if isinstance(point, dict):
            point.pop(key, None)


Problems = list[tuple[tuple[str, ...], str]]
CHOOSES_KEYS = ("data.name", "augmentation.name", "loss.name", "miner.name", "optimizer.schedule.name")
"""Names that decide which other keys there are: their sections are searched as a whole."""
MOST_COMBINATIONS = 4096


def _check_space(sweep: SweepConfig) -> Problems:
    """Check that each key can be searched and that every value of its domain makes a valid trial."""
    problems: Problems = []
    keys = trial_keys(sweep.trial)
    for key, domain in sweep.space.items():
        path = ("space", key)
        whole = next((other for other in sweep.space if key.startswith(f"{other}.")), None)
        if whole is not None:
            problems.append((path, f"{whole} is searched as a whole: give {key} in its choices"))
        elif key in CHOOSES_KEYS:
            section = key.removesuffix(".name")
            problems.append((path, f"other keys depend on it: search {section}: {{choice: [{{name: ...}}, ...]}}"))
        elif key.startswith("mdr.") and sweep.trial.mdr is None:
            problems.append((path, "cannot be searched: trial.mdr is null; give trial.mdr a mapping"))
        elif key not in keys:
            guess = nearest_name(key, keys)
            hint = f" Did you mean {guess}?" if guess else f" Known: {', '.join(keys)}."
            problems.append((path, f"is no key of a trial.{hint}"))
        elif isinstance(domain, LevelsDomain) and key != "mdr.levels":
            problems.append((path, "count, spread and offset describe mdr.levels only"))
        else:
            problems += _check_domain(sweep.trial, key, domain)
    return problems or _check_combinations(sweep)


def _check_combinations(sweep: SweepConfig) -> Problems:
    """Try what the choices make of each other; more combinations than a computer tries in a second are not tried."""
    seen: list[TrialConfig] = []
    for parameters in choice_combinations(sweep.space, MOST_COMBINATIONS) or []:
        try:
            seen.append(resolve(sweep.trial, sweep.space, parameters))
        except ValidationError as error:
            key, message = explain(error, TrialConfig)[0]
            together = ", ".join(f"{name} {describe_value(value)}" for name, value in parameters.items())
            return [(("space",), f"{together} do not go together: {'.'.join(key)}: {message}")]
    flat = [json.dumps(trial.flat(), sort_keys=True) for trial in seen]
    if sweep.search.sampler == "grid" and len(set(flat)) < len(flat):
        return [
            (("space",), "two combinations of the grid are the same trial: a choice stands twice, written otherwise")
        ]
    return []


def _check_domain(trial: TrialConfig, key: str, domain: Domain | LevelsDomain) -> Problems:
    """Try the ends, or all choices, of a domain in the trial."""
    if isinstance(domain, LevelsDomain):
        grid = {f"{key}.count": 3, f"{key}.spread": 1.0, f"{key}.offset": 0.0}
        tries: list[tuple[tuple[str, ...], dict[str, Any]]] = [
            (("space", key, name), {**grid, f"{key}.{name}": probe})
            for name, part in domain.parts().items()
            for probe in part.probes()
        ]
    else:
        tries = [(("space", key), {key: probe}) for probe in domain.probes()]
    problems: Problems = []
    for path, parameters in tries:
        try:
            apply_parameters(trial, parameters)
        except ValidationError as error:
            problems += [(path, message) for _, message in explain(error, TrialConfig)]
    return problems


def _check_start_from(sweep: SweepConfig) -> Problems:
    problems: Problems = []
    for i, point in enumerate(sweep.start_from):
        try:
            encode_point(sweep.space, point)
        except (ValueError, TypeError) as error:
            problems.append((("start_from", str(i)), str(error)))
    return problems


def _check_rest(sweep: SweepConfig) -> Problems:
    """Check what spans several keys: baselines, rungs, workers and the batch."""
    problems = _check_grid(sweep) + _check_metric(sweep) + _check_same_images(sweep)
    known = baseline_names(sweep.trial)
    for i, name in enumerate(sweep.baselines):
        if name not in known:
            message = f"unknown baseline {name!r}; with loss {sweep.trial.loss.name} there are: {', '.join(known)}"
            problems.append((("baselines", str(i)), message))
        elif sweep.trial.mdr is None:
            problems.append((("baselines", str(i)), "there is no MDR to compare with: trial.mdr is null"))
        elif not {"loss", "mdr", "embedding"}.isdisjoint(sweep.space):
            message = (
                "there are none where loss, mdr or embedding is searched as a whole: list null among the choices of mdr"
            )
            problems.append((("baselines", str(i)), message))
        elif name in sweep.baselines[:i]:
            problems.append((("baselines", str(i)), f"{name} is listed twice"))
        else:
            problems += [(("baselines", str(i)), f"{name}: {text}") for text in _problems_of_baseline(sweep, name)]
    scheduler = sweep.search.scheduler
    if scheduler.name == "asha" and scheduler.grace_epochs > _fewest(sweep, "epochs"):
        message = f"{scheduler.grace_epochs} is more than trial.epochs ({_fewest(sweep, 'epochs')})"
        problems.append((("search", "scheduler", "grace_epochs"), message))
    workers, batch = sweep.resources.workers_per_trial, _fewest(sweep, "batch.size")
    if workers > batch:
        problems.append(
            (("resources", "workers_per_trial"), f"{workers} workers cannot share a batch of {batch} images")
        )
    if len(sweep.start_from) > sweep.search.trials and sweep.search.sampler != "grid" and searched(sweep.space):
        message = f"{len(sweep.start_from)} points, but search.trials is {sweep.search.trials}"
        problems.append((("start_from",), message))
    return problems


def _problems_of_baseline(sweep: SweepConfig, name: str) -> list[str]:
    """Say what of the trial, or of the space, does not go with what a baseline changes."""
    space = baseline_space(sweep.space)
    try:
        trial = baseline_trial(sweep.trial, name)
    except ValidationError as error:
        return [f"{'.'.join(path)}: {message}" for path, message in explain(error, TrialConfig)]
    found = [problem for key, domain in space.items() for problem in _check_domain(trial, key, domain)]
    return [f"{'.'.join(path[1:])}: {message}" for path, message in found]


def _check_metric(sweep: SweepConfig) -> Problems:
    """Check that the metric is measured on all data sets of the sweep."""
    rank = sweep.metric.removeprefix("val/recall_at_")
    for data in section_variants(sweep.trial, sweep.space, "data"):
        if rank.isdigit() and int(rank) not in data.recall_ks:
            known = ", ".join(f"val/recall_at_{k}" for k in data.recall_ks)
            return [(("metric",), f"{sweep.metric} is not measured on {data.name}: there {known}")]
    return []


def _check_same_images(sweep: SweepConfig) -> Problems:
    """Check that all trials are measured on the same images: else the easiest would win, whatever the trial."""
    measured_on = [data.measured_on() for data in section_variants(sweep.trial, sweep.space, "data")]
    if all(one == measured_on[0] for one in measured_on):
        return []
    differ = sorted({key for one in measured_on for key in one if one[key] != measured_on[0].get(key)} - {"name"})
    searched_keys = [key for key in sweep.space if key == "data" or key.startswith("data.")]
    key = next((f"data.{name}" for name in differ if f"data.{name}" in sweep.space), searched_keys[0])
    message = (
        "trials of a sweep are compared on the same images, and the easiest would win here: launch once for each "
        f"value, with --set trial.{key}=VALUE --name NAME"
    )
    return [(("space", key), message)]


def _check_grid(sweep: SweepConfig) -> Problems:
    """A grid is all of its combinations: nothing else says how many trials there are, or which come first."""
    if sweep.search.sampler != "grid":
        return []
    try:
        size = len(grid_points(sweep.space))
    except ValueError as error:
        return [(("space",), str(error))]
    problems: Problems = [
        (("search", key), f"a grid runs all of its combinations, {size} here: leave it out")
        for key in ("trials", "baseline_trials")
        if key in sweep.search.model_fields_set
    ]
    if sweep.start_from:
        problems.append((("start_from",), "a grid runs all of its combinations: leave it out"))
    return problems


def _fewest(sweep: SweepConfig, key: str) -> int:
    """Return the smallest value that a whole-number key takes in this sweep."""
    space: Space = sweep.space
    if key in space and isinstance(space[key], Domain):
        return int(min(space[key].probes()))  # type: ignore[union-attr]
    return int(sweep.trial.flat()[key])
