"""Read a sweep file and `--set` overrides into a checked `SweepConfig`. Each problem is one line of a message."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mdr_tune.backbones.families import family_of
from mdr_tune.config.datasets import LEAST_PX, MOST_PX, SIZED_BY_NETWORK, SIZES
from mdr_tune.config.explain import explain
from mdr_tune.config.overrides import override
from mdr_tune.config.search_checks import search_problems
from mdr_tune.config.space import section_variants
from mdr_tune.config.space_checks import space_problems
from mdr_tune.config.strict_model import by_name
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.sweep_checks import sweep_problems
from mdr_tune.config.sweep_file import Source, read_tree
from mdr_tune.config.trial import BackboneConfig, TrialConfig
from mdr_tune.config.trial_notes import trial_notes
from mdr_tune.config.unit_notes import unit_notes
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import look_for_code_in


def read_sweep(file: Path, overrides: list[str]) -> tuple[SweepConfig, list[str]]:
    """Return the sweep in the YAML `file`, checked, and notes for the user.

    `overrides` are the texts of --set, such as `trial.loss.margin=0.3`. A note is about a searched key that an override
    fixed, a size of images that the network's configuration gives, a key or number without effect, a likely wrong unit,
    or an evaluation that sees little of each image.

    Raises:
        UserError: The file cannot be read, or it has problems. The message has a line for each problem.
    """
    tree, source = read_tree(file)
    notes = [note for text in overrides for note in override(tree, text, source)]
    _look_for_code(tree, source)
    notes += _size_by_network(tree)
    try:
        sweep = SweepConfig.model_validate(tree)
    except ValidationError as error:
        found = explain(error, SweepConfig, source.quoted)
        raise UserError("\n".join(source.problem(path, message) for path, message in found)) from None
    problems = space_problems(sweep) or sweep_problems(sweep) + search_problems(sweep)
    if problems:
        raise UserError("\n".join(source.problem(path, message) for path, message in problems))
    notes += _replaced_sections(tree, sweep) + _evaluation_notes(sweep)
    return sweep, notes + unit_notes(sweep) + trial_notes(sweep)


def _look_for_code(tree: dict[str, Any], source: Source) -> None:
    """Let import paths find the user's modules in the folder `code` of `tree`, the content of the sweep file.

    The path becomes absolute. A relative one is looked up in the sweep file's folder, then in the working folder; that
    of a --code or --set in the reverse order. Without `code`, both folders themselves are used.
    """
    code = tree.get("code")
    usual = [source.file.absolute().parent, Path.cwd()]
    if not isinstance(code, str):
        look_for_code_in(usual)
        return
    bases = reversed(usual) if ("code",) in source.overridden else usual
    found = [folder / Path(code).expanduser() for folder in bases]
    existing = next((folder for folder in found if folder.is_dir()), None)
    if existing is None:
        looked = " or ".join(dict.fromkeys(map(str, found)))
        raise UserError(source.problem(("code",), f"there is no folder {looked}: name the folder with your modules"))
    tree["code"] = str(existing.resolve())
    look_for_code_in([existing])


def _size_by_network(tree: dict[str, Any]) -> list[str]:
    """Set size and filter of the user's own images by the network's own configuration, if the user sets no size.

    They are written into `tree`, the content of the sweep file, which is not checked yet, so that they are recorded as
    if the user had written them. If networks of several configurations are searched, nothing is set. Return a note on
    what was set.
    """
    trial, space = tree.get("trial"), tree.get("space") or {}
    if not isinstance(trial, dict) or not isinstance(space, dict):
        return []
    data, networks = by_name(trial.get("data")), space.get("backbone", [trial.get("backbone")])
    networks = networks.get("choice") if isinstance(networks, dict) else networks
    if not isinstance(data, dict) or data.get("name") not in SIZED_BY_NETWORK:
        return []
    if not isinstance(networks, list) or not networks:
        return []
    searched = {key.partition(".")[2] for key in map(str, space) if f"{key}.".startswith("data.")}
    if searched & {"", *SIZES} or any(data.get(key, "auto") != "auto" for key in SIZES):
        return []
    configurations = [_own_images(network) for network in networks]
    own = {key: value for key, value in configurations[0].items() if key not in searched | (data.keys() - set(SIZES))}
    if not own or any(other != configurations[0] for other in configurations):
        return []
    trial["data"] = {**data, **own}
    names = ", ".join(dict.fromkeys(by_name(network)["name"] for network in networks))
    keys = ", ".join(f"{key} {value}" for key, value in own.items())
    return [f"trial.data: the file sets no size of images, so that it is that of {names}: {keys}"]


def _own_images(network: Any) -> dict[str, Any]:
    """Return the keys of a data set in the own configuration of `network`, a section `backbone` that is not checked.

    There are none if a size is none that a data set takes.
    """
    section = by_name(network)
    name = section.get("name") if isinstance(section, dict) else None
    if not isinstance(name, str):
        return {}
    arguments = {key: value for key, value in section.items() if key not in BackboneConfig.model_fields}
    try:
        own = family_of(name).own_images(name, arguments)
    except (UserError, ValueError):  # the checks of the section find it too, and name its place
        return {}
    return own if all(LEAST_PX <= own[key] <= MOST_PX for key in SIZES if key in own) else {}


def _replaced_sections(tree: dict[str, Any], sweep: SweepConfig) -> list[str]:
    """Return a note for each section under `trial` in `tree` that has no effect: `sweep` searches it as a whole."""
    given = tree.get("trial") or {}
    return [
        f"trial.{key} has no say: each choice of space.{key} replaces all of it"
        for key in sweep.space
        if key in given and (key in TrialConfig.model_fields) and isinstance(given[key], dict)
    ]


def _evaluation_notes(sweep: SweepConfig) -> list[str]:
    """Return notes on evaluations that see little of each image, and on image sizes that each need a cache."""
    variants = section_variants(sweep.trial, sweep.space, "data")
    notes = [data.evaluation_note() for data in variants]
    sizes = sorted({data.chosen_resize for data in variants if data.chosen_resize is not None})
    if len(sizes) > 1 and "data.image_size" in sweep.space:
        notes.append(
            f"images are brought to {sizes[0]} to {sizes[-1]} pixels, as data.image_size has it, and each such size "
            "has a cache of its own: for one cache set trial.data.resize"
        )
    return list(dict.fromkeys(filter(None, notes)))
