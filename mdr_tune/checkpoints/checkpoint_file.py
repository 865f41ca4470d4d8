"""A trial's checkpoint in the folder that Tune gives: written whole or not at all, checked when it is read.

`checkpoint.pt` is the state, as `TrialSession.state_dict` has it; `checkpoint.json` says of which epoch and trial it
is, its size and SHA-256. A *marker* is a checkpoint.json alone: of a trial that answers from what was recorded before
an interruption, and has no state in memory. It says from where the state can be had.
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
    """Epochs that follow on a state: trained with this trial's configuration, until so many are done."""

    trial: dict[str, Any]
    until: int


@dataclass(frozen=True)
class Origin:
    """From where a trial's state after some epoch can be had: a checkpoint, and what is trained from there.

    More than one stage if population based training changed the configuration on the way.

    Attributes:
        folder: The checkpoint; None to start from scratch.
        epoch: The epoch that it holds; 0 from scratch.
        stages: What is trained, in order.
        data: The checkpoint's bytes, or a reference to them, once read. Is not part of a marker.
    """

    folder: str | None = None
    epoch: int = 0
    stages: tuple[Stage, ...] = ()
    data: Any = None

    @property
    def until(self) -> int:
        """The epoch whose state it leads to."""
        return self.stages[-1].until if self.stages else self.epoch

    def then(self, trial: dict[str, Any], until: int) -> "Origin":
        """Return the origin with training up to an epoch added. There is always a stage then, if only of no epochs."""
        stages = self.stages
        before = stages[-2].until if len(stages) > 1 else self.epoch
        if stages and (stages[-1].trial == trial or stages[-1].until == before):  # goes on, or did nothing
            stages = stages[:-1]
        return dataclasses.replace(self, stages=(*stages, Stage(trial, until)))


@dataclass(frozen=True)
class CheckpointInfo:
    """What checkpoint.json says.

    Attributes:
        name: Of the trial.
        epoch: The epoch that it is of.
        trial: The trial's configuration at that epoch.
        source: What the trial went on from when it took over another one's state, or after an interruption; None if it
            did neither. Older checkpoints of another source do not lead to this one.
        size: Of the state's file, in bytes.
        sha256: Of the state's file.
        origin: Of a marker, in place of size and sum.
    """

    name: str
    epoch: int
    trial: dict[str, Any]
    source: Origin | None = None
    size: int | None = None
    sha256: str | None = None
    origin: Origin | None = None


def write_checkpoint(folder: Path, data: bytes, info: CheckpointInfo) -> None:
    """Write a state and what it is.

    Args:
        folder: An existing one.
        data: The state.
        info: What it is; size and sum are filled in.

    Raises:
        OSError: The disk is full, or worse. What was there before is untouched.
    """
    _write(folder / CHECKPOINT_FILE, data)
    write_marker(folder, dataclasses.replace(info, size=len(data), sha256=hashlib.sha256(data).hexdigest()))


def write_marker(folder: Path, info: CheckpointInfo) -> None:
    """Write what a checkpoint is, without a state."""
    values = dataclasses.asdict(info)
    for key in ("source", "origin"):
        if values[key] is not None:
            del values[key]["data"]
    _write(folder / INFO_FILE, json.dumps(values).encode())


def read_info(folder: Path) -> CheckpointInfo:
    """Read what a checkpoint is.

    Raises:
        CheckpointDamaged: It is not there, or not whole.
    """
    try:
        values = json.loads((folder / INFO_FILE).read_bytes())
        return CheckpointInfo(**{**values, "source": _origin(values["source"]), "origin": _origin(values["origin"])})
    except FileNotFoundError:
        raise CheckpointDamaged(f"{INFO_FILE} is missing") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointDamaged(f"{INFO_FILE} cannot be read: {type(error).__name__}") from error


def read_checkpoint(folder: Path) -> bytes:
    """Return the state in a checkpoint's folder, after checking that it is what was written.

    Raises:
        CheckpointDamaged: It is not, or it is not there.
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
    """Return the older checkpoints of the same trial that are kept, the newest first."""
    number = _number(folder)
    siblings = folder.parent.iterdir() if number is not None and folder.parent.is_dir() else iter(())
    older = [(_number(sibling), sibling) for sibling in siblings]
    found = [(mine, sibling) for mine, sibling in older if mine is not None and number is not None and mine < number]
    return [sibling for _, sibling in sorted(found, reverse=True)]


def _number(folder: Path) -> int | None:
    """Return the number in a name as Tune makes it, checkpoint_000003."""
    match = re.fullmatch(r"checkpoint_(\d+)", folder.name)
    return int(match[1]) if match else None


def _origin(values: dict[str, Any] | None) -> Origin | None:
    if values is None:
        return None
    return Origin(**{**values, "stages": tuple(Stage(**stage) for stage in values["stages"])})


def _write(file: Path, data: bytes) -> None:
    """Write a file under another name, wait until it is on the disk, and give it its name."""
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
