"""`report.json` of a report: its files, and what it was made from, so that a poorer report does not replace it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import some

MANIFEST = "report.json"
"""Lists the files of a report: a folder that holds anything else is not replaced."""
NAMED = 3
"""Missing parts that are named."""


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
