"""Write a trial's checkpoint to the folder that Tune gives, and read it again.

A crash leaves no half-written file, and the state is checked when it is read. `checkpoint.pt` is the trial's state, as
`TrialSession.state_dict` returns it. `checkpoint.json` holds a `CheckpointInfo`.

A *marker* is a checkpoint.json without a checkpoint.pt. It is written for a trial that has no state in memory: while
the trial repeats the results that were recorded before an interruption, and after it has failed. A marker holds an
*origin*, which says how to get the state.
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
    """Error: a checkpoint cannot be used. The text says why, in a few words."""


@dataclass(frozen=True)
class Stage:
    """Span of epochs that are trained with the configuration `trial`. `until` is its last epoch, counted from 1."""

    trial: dict[str, Any]
    until: int


@dataclass(frozen=True)
class Origin:
    """Way to get a trial's state after some epoch: a checkpoint to start from, and the stages to train after it.

    Attributes:
        folder: Folder of the checkpoint; None to start from scratch.
        epoch: Epoch of the checkpoint; 0 to start from scratch.
        stages: Stages to train, in order. There are several if population based training changed the configuration.
        data: Bytes of the checkpoint's state, or Ray's reference to them; None until they are read, and in a marker.
    """

    folder: str | None = None
    epoch: int = 0
    stages: tuple[Stage, ...] = ()
    data: Any = None

    @property
    def until(self) -> int:
        """Epoch of the state that training all of the stages leads to."""
        return self.stages[-1].until if self.stages else self.epoch

    def then(self, trial: dict[str, Any], until: int) -> "Origin":
        """Return this origin with training added: up to the epoch `until`, with the configuration `trial`.

        The last stage of the result always has this configuration, even if there is no epoch to train with it.
        """
        stages = self.stages
        before = stages[-2].until if len(stages) > 1 else self.epoch
        if stages and (stages[-1].trial == trial or stages[-1].until == before):  # the stage goes on, or has no epochs
            stages = stages[:-1]
        return dataclasses.replace(self, stages=(*stages, Stage(trial, until)))


@dataclass(frozen=True)
class CheckpointInfo:
    """Content of checkpoint.json: the trial's `name`, and its `epoch` and configuration (`trial`) at the checkpoint.

    Attributes:
        source: Origin of the state that the trial last took over from another trial, or after an interruption; None if
            it has taken over none. An older checkpoint can replace this one only if both have the same source.
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
    """Write `data`, the bytes of a state, and then `info` with their size and SHA-256 to the existing `folder`.

    Raise OSError if a file cannot be written, for example because the disk is full. An older file of its name stays.
    """
    _write(folder / CHECKPOINT_FILE, data)
    write_marker(folder, dataclasses.replace(info, size=len(data), sha256=hashlib.sha256(data).hexdigest()))


def write_marker(folder: Path, info: CheckpointInfo) -> None:
    """Write `info` to the checkpoint.json in `folder`, without the bytes in `source.data` and `origin.data`."""
    values = dataclasses.asdict(info)
    for key in ("source", "origin"):
        if values[key] is not None:
            del values[key]["data"]
    _write(folder / INFO_FILE, json.dumps(values).encode())


def read_info(folder: Path) -> CheckpointInfo:
    """Return the content of the checkpoint.json in `folder`; raise CheckpointDamaged if it cannot be read."""
    try:
        values = json.loads((folder / INFO_FILE).read_bytes())
        return CheckpointInfo(**{**values, "source": _origin(values["source"]), "origin": _origin(values["origin"])})
    except FileNotFoundError:
        raise CheckpointDamaged(f"{INFO_FILE} is missing") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointDamaged(f"{INFO_FILE} cannot be read: {type(error).__name__}") from error


def read_checkpoint(folder: Path) -> bytes:
    """Return the bytes of the state in the checkpoint's `folder` after checking their size and SHA-256.

    Raise CheckpointDamaged if a file is missing or cannot be read, or if the state differs from what was written.
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
    """Return the folders of older checkpoints that lie beside the checkpoint's `folder`, the newest first."""
    number = _number(folder)
    siblings = folder.parent.iterdir() if number is not None and folder.parent.is_dir() else iter(())
    older = [(_number(sibling), sibling) for sibling in siblings]
    found = [(mine, sibling) for mine, sibling in older if mine is not None and number is not None and mine < number]
    return [sibling for _, sibling in sorted(found, reverse=True)]


def _number(folder: Path) -> int | None:
    """Return the number at the end of a checkpoint folder's name, 3 for checkpoint_000003; None for other names."""
    match = re.fullmatch(r"checkpoint_(\d+)", folder.name)
    return int(match[1]) if match else None


def _origin(values: dict[str, Any] | None) -> Origin | None:
    if values is None:
        return None
    return Origin(**{**values, "stages": tuple(Stage(**stage) for stage in values["stages"])})


def _write(file: Path, data: bytes) -> None:
    """Write `data` under a temporary name, wait until it is on the disk, and rename the file to its final name."""
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
        os.fsync(entries)  # so that the new name is on the disk, too
    finally:
        os.close(entries)
