"""Read a trial's checkpoint, or, if it is damaged, the newest earlier checkpoint that is whole."""

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
    """Result of reading a checkpoint or, if it is damaged, an earlier one.

    Attributes:
        origin: Origin that leads to the state of the epoch that was asked for. Its `data` are the bytes that were read.
            They are None if the origin starts from scratch, or comes from a marker; `complete` then reads them.
        note: Message for the user about a damaged checkpoint; None if nothing was damaged.
        info: Content of the checkpoint.json that was asked for or, if that is damaged, of the earlier one that was
            read. None if none could be read, or if nothing had to be read.
    """

    origin: Origin
    note: str | None = None
    info: CheckpointInfo | None = None


def read_newest(folder: Path, epoch: int | None, trial: dict[str, Any]) -> Found:
    """Read the checkpoint in `folder` or, if it is damaged, the newest earlier one of the same trial that is whole.

    If no checkpoint is whole, the returned origin starts from the `source` in checkpoint.json, or from scratch if there
    is none. If the checkpoint was damaged, the returned origin has a stage with the epochs to train again.

    Args:
        folder: Folder of the checkpoint, such as checkpoint_000003. The trial's earlier checkpoints lie beside it.
        epoch: Epoch of the checkpoint; None if not known. It is used only if the checkpoint.json is damaged.
        trial: Configuration to train the missing epochs with if no checkpoint.json can be read.
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
    """Return whether a trial that goes on from the checkpoint `info` arrives at the checkpoint `asked` of `epoch`.

    `asked` is None if the description of that checkpoint is damaged.
    """
    if epoch is not None and info.epoch > epoch:
        return False  # from before the trial was set back to an earlier epoch
    return asked is None or info.source == asked.source


def _found(origin: Origin, info: CheckpointInfo, until: int, problem: str | None) -> Found:
    whole = origin if origin.until >= until else origin.then(info.trial, until)
    return Found(whole, _note(problem, until, origin), info)


def complete(origin: Origin, trial: dict[str, Any]) -> Found:
    """Read the checkpoint that `origin` starts from or, if it is damaged, an earlier one.

    Nothing is read if the origin has its bytes already, or starts from scratch. `trial` is the configuration for
    missing epochs if no checkpoint.json can be read.
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
