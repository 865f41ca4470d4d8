"""Check what the folder of a report holds, and replace it as a whole.

A new report is made in a hidden folder, which takes the place of the old report when it is complete. The report under
the folder's name is therefore always complete. It is missing only for an instant during the replacement.
"""

import errno
import glob
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import some

MANIFEST = "report.json"
"""File that lists the files and the parts of a report. A folder that holds any other file is not replaced."""
NAMED = 3
"""Largest number of missing parts that an error names."""
ABANDONED_S = 86400.0
"""Age in seconds from which on a hidden folder is taken to be left by a crash. Making a report takes minutes."""
ATTEMPTS = 20
"""Number of attempts to move a new report to its folder. An attempt fails if another process moves its report there."""


def make_manifest(evidences: Sequence[SweepEvidence], names: Sequence[str], files: Sequence[str]) -> dict[str, Any]:
    """Return the content of `report.json` for a new report: its launches, their trials, and its files.

    `evidences` are records of the sweeps, `names` the sweeps' names, and `files` paths relative to the report's folder.
    """
    launches = {name: evidence.sweep.parent_run_id for name, evidence in zip(names, evidences, strict=True)}
    trials = {evidence.sweep.parent_run_id: _parts(evidence) for evidence in evidences}
    return {"made_by": "mdr-tune report", "launches": launches, "trials": trials, "files": list(files)}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the content of `report.json` in `folder`; empty if the file is missing or cannot be read."""
    try:
        found = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def check_not_poorer(evidences: Sequence[SweepEvidence], before: Mapping[str, Any], place: str) -> None:
    """Raise UserError if a report of `evidences` would lack parts of the report `before` at `place` (`why_poorer`)."""
    if why := why_poorer(evidences, before, place):
        raise UserError(f"{why}. Look for what was lost (deleted runs or files), or name another folder")


def why_poorer(evidences: Sequence[SweepEvidence], before: Mapping[str, Any], place: str) -> str | None:
    """Return a sentence on the parts of the old report that the new report lacks; None if it lacks none.

    The parts are trials, their distances and their test details. Only launches that are in both reports are compared.

    Args:
        evidences: Records of the sweeps that the new report is made from.
        before: Content of the old `report.json`. Older versions list no parts in it, so that none count as missing.
        place: Folder of the old report, for the sentence.
    """
    known = before.get("trials", {})
    missing = [
        what
        for evidence in evidences
        for now in [_parts(evidence)]
        for trial, parts in known.get(evidence.sweep.parent_run_id, {}).items()
        for what in ([f"{part} of {trial}" for part in parts if part not in now[trial]] if trial in now else [trial])
    ]
    if not missing:
        return None
    return (
        f"{place} holds a report of the same launch that has more: {some(missing, NAMED)} cannot be read "
        "from MLflow any more"
    )


def _parts(evidence: SweepEvidence) -> dict[str, list[str]]:
    """Return by trial name which of the parts `distances` and `test details` each trial of `evidence` has."""
    return {
        record.name: [
            *(["distances"] if record.distances else []),
            *(["test details"] if record.name in evidence.details else []),
        ]
        for record in evidence.sweep.records
    }


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty hidden folder for the caller to fill, and put it in the place of `folder` when the block ends.

    After an exception `folder` is unchanged. Several processes may do this at the same time, and the report of the
    process that ends last stays. OSError is raised if `folder` cannot be written, or is a link in a loop of links.
    """
    target = _leads_to(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    restore(folder)
    token = secrets.token_hex(4)
    made, old = (target.with_name(f".{target.name}.{token}.{part}") for part in ("part", "old"))
    made.mkdir()
    try:
        yield made
        _take_place(made, target, old)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        restore(folder)


def restore(folder: Path) -> None:
    """Put an old report back to `folder` if a crash left it under a hidden name, and remove old hidden folders."""
    target = _leads_to(folder)
    for old in _beside(target, "old"):
        with suppress(OSError):  # another process took the place: then there is a report
            if not target.exists():
                old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    for part in _beside(target, "part"):
        with suppress(OSError):  # another process removed it meanwhile
            if time.time() - part.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(part, ignore_errors=True)


def _leads_to(folder: Path) -> Path:
    """Return the path of `folder` with all symbolic links followed. Raise OSError if the links form a loop."""
    target = Path(os.path.realpath(folder))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
    return target


def _beside(target: Path, part: str) -> list[Path]:
    return sorted(target.parent.glob(f".{glob.escape(target.name)}.*.{part}"))


def _take_place(made: Path, target: Path, old: Path) -> None:
    """Move the old report from `target` to `old`, and the new report from `made` to `target`.

    Try again if another process has moved its own report to `target` in between.
    """
    for attempt in range(ATTEMPTS):
        with suppress(FileNotFoundError):
            target.rename(old)
        try:
            made.rename(target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == ATTEMPTS - 1:
                raise
        shutil.rmtree(old, ignore_errors=True)  # the other process's report is newer than this one


def files_below(folder: Path, root: Path) -> list[str]:
    """Return all files below `folder`, as paths relative to `root`."""
    return sorted(str(file.relative_to(root)) for file in folder.rglob("*") if file.is_file())


def check_folder(folder: Path) -> None:
    """Raise UserError unless `folder` does not exist, is empty, or holds a report and nothing else."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        above = "" if there == folder else f"{folder}: "
        raise UserError(f"{above}{there} is a file: name a folder for the report")
    if there != folder:
        return
    foreign = sorted(set(files_below(folder, folder)) - _listed(folder))
    if foreign:
        raise UserError(f"{folder} holds {some(foreign, 1)}, not of a report: name another folder, or move it away")


def _listed(folder: Path) -> set[str]:
    files = read_manifest(folder).get("files", [])
    return {file for file in files if isinstance(file, str)} if isinstance(files, list) else set()
