"""Read and write a trial's checkpoint in the folder that Tune gives. Each file is written whole, and checked when read.

`checkpoint.pt` is the trial's state, as `TrialSession.state_dict` returns it. `checkpoint.json` holds the epoch, the
trial, and size and SHA-256 of the state.

A *marker* is a checkpoint.json without a checkpoint.pt. It is written for a trial that has no state in memory, because
the trial repeats the results that were recorded before an interruption. In place of size and SHA-256 it holds an
*origin*: where to get the state from.
"""

import dataclasses
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKPOINT_FILE = "checkpoint.pt"
INFO_FILE = "checkpoint.json"


class CheckpointDamaged(Exception):  # noqa: N818 - says what is the matter
    """A checkpoint cannot be used; the text says why, in a few words."""


@dataclass(frozen=True)
class Stage:
    """A span of epochs that are trained with one configuration.

    Attributes:
        trial: The trial's configuration during these epochs.
        until: Epoch that the span ends with, counted from 1.
    """

    trial: dict[str, Any]
    until: int


@dataclass(frozen=True)
class Origin:
    """Where to get a trial's state after some epoch from: a checkpoint, and the stages to train from there.

    There is more than one stage if population based training changed the configuration on the way.

    Attributes:
        folder: Folder of the checkpoint; None to start from scratch.
        epoch: Epoch of the checkpoint; 0 to start from scratch.
        stages: Stages to train, in order.
        data: Bytes of the checkpoint's state, or a reference to them, once they are read. Not written to a marker.
    """

    folder: str | None = None
    epoch: int = 0
    stages: tuple[Stage, ...] = ()
    data: Any = None

    @property
    def until(self) -> int:
        """Epoch of the state that this origin leads to."""
        return self.stages[-1].until if self.stages else self.epoch

    def then(self, trial: dict[str, Any], until: int) -> "Origin":
        """Return this origin followed by training with the configuration `trial` up to the epoch `until`.

        The result has a stage in any case, if need be one without epochs.
        """
        stages = self.stages
        before = stages[-2].until if len(stages) > 1 else self.epoch
        if stages and (stages[-1].trial == trial or stages[-1].until == before):  # the stage goes on, or has no epochs
            stages = stages[:-1]
        return dataclasses.replace(self, stages=(*stages, Stage(trial, until)))


@dataclass(frozen=True)
class CheckpointInfo:
    """Content of checkpoint.json.

    Attributes:
        name: Name of the trial.
        epoch: Epoch after which the checkpoint was written.
        trial: Configuration of the trial at that epoch.
        source: Origin of the state that the trial last went on from, when it took over another trial's state or was
            resumed after an interruption; None if neither happened. An older checkpoint with another source does not
            lead to this one.
        size: Size of checkpoint.pt in bytes; None in a marker.
        sha256: SHA-256 of checkpoint.pt; None in a marker.
        origin: Origin of the state in a marker; None in other checkpoints.
    """

    name: str
    epoch: int
    trial: dict[str, Any]
    source: Origin | None = None
    size: int | None = None
    sha256: str | None = None
    origin: Origin | None = None


def write_checkpoint(folder: Path, data: bytes, info: CheckpointInfo) -> None:
    """Write a checkpoint: the state, then its checkpoint.json.

    Args:
        folder: Folder to write to, which exists.
        data: Bytes of the state.
        info: Content of checkpoint.json; its size and SHA-256 are filled in.

    Raises:
        OSError: A file cannot be written, such as on a full disk. An earlier file of that name is left as it was.
    """
    _write(folder / CHECKPOINT_FILE, data)
    write_marker(folder, dataclasses.replace(info, size=len(data), sha256=hashlib.sha256(data).hexdigest()))


def write_marker(folder: Path, info: CheckpointInfo) -> None:
    """Write a checkpoint.json without a state."""
    values = dataclasses.asdict(info)
    for key in ("source", "origin"):
        if values[key] is not None:
            del values[key]["data"]
    _write(folder / INFO_FILE, json.dumps(values).encode())


def read_info(folder: Path) -> CheckpointInfo:
    """Return the content of a checkpoint.json.

    Raises:
        CheckpointDamaged: The file is missing, or not whole.
    """
    try:
        values = json.loads((folder / INFO_FILE).read_bytes())
        return CheckpointInfo(**{**values, "source": _origin(values["source"]), "origin": _origin(values["origin"])})
    except FileNotFoundError:
        raise CheckpointDamaged(f"{INFO_FILE} is missing") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointDamaged(f"{INFO_FILE} cannot be read: {type(error).__name__}") from error


def read_checkpoint(folder: Path) -> bytes:
    """Return the state in a checkpoint's folder after checking its size and SHA-256.

    Raises:
        CheckpointDamaged: A file is missing, or not as it was written.
    """
    info = read_info(folder)
    try:
        data = (folder / CHECKPOINT_FILE).read_bytes()
    except FileNotFoundError:
        raise CheckpointDamaged(f"{CHECKPOINT_FILE} is missing") from None
    except OSError as error:
        raise CheckpointDamaged(f"{CHECKPOINT_FILE} cannot be read: {error.strerror}") from error
    if len(data) != info.size:
        raise CheckpointDamaged(f"it has {len(data)} of {info.size} bytes")
    if hashlib.sha256(data).hexdigest() != info.sha256:
        raise CheckpointDamaged("sha256 differs")
    return data


def folders_before(folder: Path) -> list[Path]:
    """Return the folders of the same trial's older checkpoints that still exist, the newest first."""
    number = _number(folder)
    siblings = folder.parent.iterdir() if number is not None and folder.parent.is_dir() else iter(())
    older = [(_number(sibling), sibling) for sibling in siblings]
    found = [(mine, sibling) for mine, sibling in older if mine is not None and number is not None and mine < number]
    return [sibling for _, sibling in sorted(found, reverse=True)]


def _number(folder: Path) -> int | None:
    """Return the number in a folder's name that Tune made, such as checkpoint_000003; None for another name."""
    match = re.fullmatch(r"checkpoint_(\d+)", folder.name)
    return int(match[1]) if match else None


def _origin(values: dict[str, Any] | None) -> Origin | None:
    if values is None:
        return None
    return Origin(**{**values, "stages": tuple(Stage(**stage) for stage in values["stages"])})


def _write(file: Path, data: bytes) -> None:
    """Write a file under a temporary name, wait until it is on the disk, and rename it."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        with unfinished.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    entries = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(entries)  # the new name, too
    finally:
        os.close(entries)
