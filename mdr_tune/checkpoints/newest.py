"""Read a trial's checkpoint, or if it is damaged the newest one before it that is whole."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from mdr_tune.checkpoints.checkpoint_file import (
    CheckpointDamaged,
    CheckpointInfo,
    Origin,
    folders_before,
    read_checkpoint,
    read_info,
)


class Found(NamedTuple):
    """What a checkpoint, or one before it, gives.

    Attributes:
        origin: Leads to the state of the epoch that was asked for. Its `data` are the bytes; it has none if it starts
            from scratch, or if a marker was found, and that is what `complete` is for.
        note: What was the matter, for the user; None if nothing was.
        info: Of the checkpoint that was asked for, or if it cannot say it of the one that was found.
    """

    origin: Origin
    note: str | None = None
    info: CheckpointInfo | None = None


def read_newest(folder: Path, epoch: int | None, trial: dict[str, Any]) -> Found:
    """Read the checkpoint in `folder`; if it is damaged the one before it of the same trial, and so on.

    Args:
        folder: As Tune names it, checkpoint_000003; those before it are its siblings.
        epoch: The epoch that it should be of, as far as known; is used if the checkpoint cannot say it.
        trial: The configuration that the epochs after an older one are trained with, if no checkpoint says it.
    """
    asked: CheckpointInfo | None = None
    problem: str | None = None
    for candidate in [folder, *folders_before(folder)]:
        try:
            info = read_info(candidate)
            if candidate == folder:
                asked, epoch = info, info.epoch
            if _leads_to(info, asked, epoch):
                origin = info.origin or Origin(str(candidate), info.epoch, data=read_checkpoint(candidate))
                return _found(origin, asked or info, info.epoch if epoch is None else epoch, problem)
        except CheckpointDamaged as damage:
            problem = problem or str(damage)
    if asked is None:
        until = epoch or 0
        return Found(Origin() if until == 0 else Origin().then(trial, until), _note(problem, until, Origin()))
    source = Origin() if asked.source is None else complete(asked.source, asked.trial).origin
    return _found(source, asked, asked.epoch, problem)


def _leads_to(info: CheckpointInfo, asked: CheckpointInfo | None, epoch: int | None) -> bool:
    """Return whether training on from a checkpoint leads to the one that was asked for."""
    if epoch is not None and info.epoch > epoch:
        return False  # of the time before the trial was set back
    return asked is None or info.source == asked.source


def _found(origin: Origin, info: CheckpointInfo, until: int, problem: str | None) -> Found:
    whole = origin if origin.until >= until else origin.then(info.trial, until)
    return Found(whole, _note(problem, until, origin), info)


def complete(origin: Origin, trial: dict[str, Any]) -> Found:
    """Read what an origin starts from, if that has not been done; with a checkpoint that is damaged, one before it.

    Args:
        origin: As a marker has it.
        trial: The configuration that the epochs after an older checkpoint are trained with, if no checkpoint says it.
    """
    if origin.folder is None or origin.data is not None:
        return Found(origin)
    found = read_newest(Path(origin.folder), origin.epoch, trial)
    return found._replace(origin=dataclasses.replace(found.origin, stages=(*found.origin.stages, *origin.stages)))


def _note(problem: str | None, epoch: int, origin: Origin) -> str | None:
    if problem is None:
        return None
    went_on = f"went on from epoch {origin.until}" if origin.until else "started from scratch"
    return f"the checkpoint of epoch {epoch} is damaged ({problem}): {went_on}"
