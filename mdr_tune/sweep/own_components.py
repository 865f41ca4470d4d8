"""Find the user's own networks, losses and miners in a sweep, make notes on them, and find changes in their code."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdr_tune.backbones.families import family_of
from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.records.journal import Past
from mdr_tune.records.provenance import packages_of
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
    """Return notes for the plan on the user's own code in `sweep`, which must have been checked already.

    The notes say which weights and which normalisation a network has, what of it is not trained, and whether a
    registered model will need the user's code; and that a loss or a miner does nothing for random embeddings.
    """
    return list(dict.fromkeys([*_notes(sweep), *_notes_on_metric(sweep)]))


def _notes(sweep: SweepConfig) -> Iterator[str]:
    shape = sweep.trial.data.input_shape
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        if not is_import_path(backbone.name):
            continue
        yield from family_of(backbone.name).notes(backbone.name, backbone.weights, shape, backbone.arguments)
        trial = sweep.trial.model_copy(update={"backbone": backbone})
        from mdr_tune.tracking.exporting import why_not_exported

        if why := why_not_exported(trial, shape):
            yield (
                f"{backbone.name}: torch.export cannot export it ({why}). The registered champion will need your code: "
                "mdr-tune embed --model URI --code DIR"
            )


def _notes_on_metric(sweep: SweepConfig) -> Iterator[str]:
    for section in ("loss", "miner"):
        for one in section_variants(sweep.trial, sweep.space, section):
            if is_import_path(one.name) and (note := one.note()):
                yield note


def recorded_components(sweep: SweepConfig, code: UserCode | None) -> dict[str, Any]:
    """Return what the journal records of `sweep`'s components: hashes of `code`, and versions of installed packages."""
    packages = packages_of(own_names(sweep))
    return {**({} if code is None else {"code": code.describe()}), **({"packages": packages} if packages else {})}


def changes_since(past: Past, sweep: SweepConfig, now: UserCode | None) -> list[str]:
    """Return sentences on what changed since `past`: the user's files, of which `now` is a copy, and packages.

    The packages are the installed ones that `sweep`'s import paths lead to.
    """
    notes = []
    before = (past.code or {}).get("files")
    if isinstance(before, dict) and (changed := changed_files(before, {} if now is None else now.files)):
        notes.append(f"your code is not that of then: {', '.join(changed)} changed")
    versions = packages_of(own_names(sweep))
    for package, then in past.packages.items():
        if versions.get(package) != then:
            notes.append(f"{package}: {then} then, {versions.get(package, 'not used')} now")
    return notes
