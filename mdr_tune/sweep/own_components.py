"""Find the user's own networks, losses and miners in a sweep, make notes on them, and find changes in their code."""

import os
from collections.abc import Iterator
from pathlib import Path

from mdr_tune.backbones.families import family_of
from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import is_import_path, look_for_code_in
from mdr_tune.util.user_code import UserCode, changed_files, imported_code


def own_names(sweep: SweepConfig) -> list[str]:
    """Return the import paths in `sweep`, such as `my_losses:SoftTriple`, each once."""
    sections = ("data", "backbone", "loss", "miner")
    names = [one.name for section in sections for one in section_variants(sweep.trial, sweep.space, section)]
    return [name for name in dict.fromkeys(names) if is_import_path(name)]


def own_code(sweep: SweepConfig) -> UserCode | None:
    """Return a copy of the user's modules that `sweep` has imported; None if `sweep` has no import path.

    Raises:
        UserError: The modules lie in two folders, or are too large to travel to the workers.
    """
    return imported_code() if own_names(sweep) else None


def look_for_recorded_code(recorded: object, given: str | None) -> None:
    """Let imports find the user's own modules in the folder `given` by --code, or else in the `recorded` folder.

    Raises:
        UserError: There is no such folder.
    """
    code = given or recorded
    if isinstance(code, str) and not os.path.isdir(code):
        what = "--code" if given else "your own modules were in"
        raise UserError(f"{what} {code}: there is no such folder; name their folder: --code DIR")
    look_for_code_in([Path(code)] if isinstance(code, str) else [])


def component_notes(sweep: SweepConfig) -> list[str]:
    """Return notes for the plan on the user's own networks in `sweep`, which must have been checked already.

    The notes say which weights and which normalisation a network has, which of its layers depend on the number of
    workers, and whether a registered model will need the user's code.
    """
    return list(dict.fromkeys(_notes(sweep)))


def _notes(sweep: SweepConfig) -> Iterator[str]:
    shape = sweep.trial.data.input_shape
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        if not is_import_path(backbone.name):
            continue
        yield from family_of(backbone.name).notes(backbone.name, backbone.weights, shape, backbone.arguments)
        trial = sweep.trial.model_copy(update={"backbone": backbone})
        from mdr_tune.tracking.exporting import network_notes

        yield from network_notes(trial, shape)


def changes_since(then: dict[str, object] | None, now: UserCode | None) -> str | None:
    """Return a sentence on the user's files that differ between `then` and `now`; None if there are none.

    `then` is the recorded result of `UserCode.describe`, `now` the present code.
    """
    before = (then or {}).get("files")
    if not isinstance(before, dict):
        return None
    changed = changed_files(before, {} if now is None else now.files)
    return f"your code is not that of then: {', '.join(changed)} changed" if changed else None
