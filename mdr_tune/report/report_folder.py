"""The folder of a report: what it holds, by its `report.json`, what it may replace, and how it is put in its place.

There is a whole report under a folder's name at any time but an instant.
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
"""Lists the files of a report: a folder that holds anything else is not replaced."""
NAMED = 3
"""Missing parts that are named."""
ABANDONED_S = 86400.0
"""A hidden folder in the making that is older than this, in seconds, is a crash's: a report takes minutes."""
ATTEMPTS = 20
"""To take the place, which others may take at the same time."""


def make_manifest(evidences: Sequence[SweepEvidence], names: Sequence[str], files: Sequence[str]) -> dict[str, Any]:
    """Return the content of a report's `report.json`.

    Args:
        evidences: The sweeps that it is made from.
        names: Their names, as the report has them.
        files: Files of the report, relative to its folder.
    """
    launches = {name: evidence.sweep.parent_run_id for name, evidence in zip(names, evidences, strict=True)}
    trials = {evidence.sweep.parent_run_id: _parts(evidence) for evidence in evidences}
    return {"made_by": "mdr-tune report", "launches": launches, "trials": trials, "files": list(files)}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the `report.json` of a folder; nothing if there is none that can be read."""
    try:
        found = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def check_not_poorer(evidences: Sequence[SweepEvidence], before: Mapping[str, Any], place: str) -> None:
    """Check that a report has all that the one has whose place it is to take. Arguments as of `why_poorer`.

    Raises:
        UserError: It has not.
    """
    if why := why_poorer(evidences, before, place):
        raise UserError(f"{why}. Look for what was lost (deleted runs or files), or name another folder")


def why_poorer(evidences: Sequence[SweepEvidence], before: Mapping[str, Any], place: str) -> str | None:
    """Say which trials, distances or details a report lacks that another one of the same launches has; None if none.

    Args:
        evidences: What the new report is made from.
        before: The `report.json` of the report that is there; of an older version, it does not say what there was.
        place: Where that one is, for the message.
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
    """Return of each trial what there is beside its numbers."""
    return {
        record.name: [
            *(["distances"] if record.distances else []),
            *(["test details"] if record.name in evidence.details else []),
        ]
        for record in evidence.sweep.records
    }


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty hidden folder beside `folder` that takes its place at the end; after an exception nothing changed.

    Several processes may do so at once: each has a folder of its own, and the last to end is what stays.

    Raises:
        OSError: The place cannot be written, or is a link that leads round in a loop.
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
    """Put back what a crash, between moving the old folder away and the new one in, has left under a hidden name.

    Hidden folders that are of no use any more are removed.
    """
    target = _leads_to(folder)
    for old in _beside(target, "old"):
        with suppress(OSError):  # another process takes the place now: then there is one
            if not target.exists():
                old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    for part in _beside(target, "part"):
        with suppress(OSError):  # gone meanwhile
            if time.time() - part.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(part, ignore_errors=True)


def _leads_to(folder: Path) -> Path:
    """Return what a path stands for, links followed; OSError if they lead round in a loop."""
    target = Path(os.path.realpath(folder))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
    return target


def _beside(target: Path, part: str) -> list[Path]:
    return sorted(target.parent.glob(f".{glob.escape(target.name)}.*.{part}"))


def _take_place(made: Path, target: Path, old: Path) -> None:
    """Move `made` to `target`, and what is there to `old`; again if another process was quicker in between."""
    for attempt in range(ATTEMPTS):
        with suppress(FileNotFoundError):
            target.rename(old)
        try:
            made.rename(target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == ATTEMPTS - 1:
                raise
        shutil.rmtree(old, ignore_errors=True)  # the other's is the newest now


def files_below(folder: Path, root: Path) -> list[str]:
    """Return all files below a folder, as paths relative to `root`."""
    return sorted(str(file.relative_to(root)) for file in folder.rglob("*") if file.is_file())


def check_folder(folder: Path) -> None:
    """See that a report may be written: there is no such folder, it is empty, or it holds a report and nothing else.

    Raises:
        UserError: It does not; the text names what is in the way.
    """
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
    """Return the files of the report in a folder; none if there is no report."""
    files = read_manifest(folder).get("files", [])
    return {file for file in files if isinstance(file, str)} if isinstance(files, list) else set()
