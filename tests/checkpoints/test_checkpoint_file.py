"""Checkpoint files: written whole, checked when read, and what follows from a damaged one."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.checkpoints.checkpoint_file import (
    CHECKPOINT_FILE,
    INFO_FILE,
    CheckpointDamaged,
    CheckpointInfo,
    Origin,
    Stage,
    folders_before,
    read_checkpoint,
    read_info,
    write_checkpoint,
    write_marker,
)
from mdr_tune.checkpoints.newest import complete, read_newest

TRIAL: dict[str, Any] = {"mdr": {"weight": 0.1}, "epochs": 8}
OTHER: dict[str, Any] = {"mdr": {"weight": 0.2}, "epochs": 8}
MIDDLE_BYTE = 10


def checkpoint(folder: Path, epoch: int, trial: dict[str, Any] = TRIAL, source: Origin | None = None) -> Path:
    folder.mkdir(parents=True)
    write_checkpoint(folder, data_of(epoch), CheckpointInfo("mdr-001", epoch, trial, source))
    return folder


def data_of(epoch: int) -> bytes:
    return bytes([epoch]) * 20


def flip_a_bit(folder: Path) -> None:
    file = folder / CHECKPOINT_FILE
    data = bytearray(file.read_bytes())
    data[MIDDLE_BYTE] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "sha256 differs": flip_a_bit,
    "it has 7 of 20 bytes": lambda folder: os.truncate(folder / CHECKPOINT_FILE, 7),
    "checkpoint.pt is missing": lambda folder: (folder / CHECKPOINT_FILE).unlink(),
    "checkpoint.json is missing": lambda folder: (folder / INFO_FILE).unlink(),
    "checkpoint.json cannot be read: JSONDecodeError": lambda folder: os.truncate(folder / INFO_FILE, 9),
}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    source = Origin("/elsewhere/checkpoint_000003", 4, (Stage(OTHER, 5),))
    folder = checkpoint(tmp_path / "checkpoint_000000", 6, source=source)
    assert read_checkpoint(folder) == data_of(6)
    info = read_info(folder)
    assert (info.name, info.epoch, info.trial, info.size, info.source) == ("mdr-001", 6, TRIAL, 20, source)
    assert sorted(file.name for file in folder.iterdir()) == [INFO_FILE, CHECKPOINT_FILE]


@pytest.mark.parametrize("problem", DAMAGES)
def test_a_damaged_one_is_refused_with_the_reason(tmp_path: Path, problem: str) -> None:
    folder = checkpoint(tmp_path / "checkpoint_000000", 6)
    DAMAGES[problem](folder)
    with pytest.raises(CheckpointDamaged, match=problem):
        read_checkpoint(folder)


def test_the_older_ones_come_newest_first(tmp_path: Path) -> None:
    for name in ("checkpoint_000002", "checkpoint_000010", "checkpoint_000009", "checkpoint_tmp", "checkpoint_000011"):
        (tmp_path / name).mkdir()
    before = folders_before(tmp_path / "checkpoint_000010")
    assert [folder.name for folder in before] == ["checkpoint_000009", "checkpoint_000002"]
    assert folders_before(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("problem", DAMAGES)
def test_the_one_before_a_damaged_one_is_used_and_said(tmp_path: Path, problem: str) -> None:
    older = checkpoint(tmp_path / "checkpoint_000003", 4)
    newer = checkpoint(tmp_path / "checkpoint_000004", 5)
    DAMAGES[problem](newer)
    found = read_newest(newer, 5, TRIAL)
    assert found.origin == Origin(str(older), 4, (Stage(TRIAL, 5),), data_of(4))
    assert found.note == f"the checkpoint of epoch 5 is damaged ({problem}): went on from epoch 4"


def test_a_whole_one_is_used_as_it_is(tmp_path: Path) -> None:
    checkpoint(tmp_path / "checkpoint_000003", 4)
    newer = checkpoint(tmp_path / "checkpoint_000004", 5)
    found = read_newest(newer, None, TRIAL)
    assert found.origin == Origin(str(newer), 5, (), data_of(5))
    assert found.note is None


def test_without_any_whole_one_it_starts_from_scratch_and_says_so(tmp_path: Path) -> None:
    older = checkpoint(tmp_path / "checkpoint_000003", 4)
    shutil.rmtree(checkpoint(tmp_path / "checkpoint_000004", 5))
    flip_a_bit(older)
    found = read_newest(tmp_path / "checkpoint_000004", 5, TRIAL)
    assert found.origin == Origin(None, 0, (Stage(TRIAL, 5),))
    assert found.note == ("the checkpoint of epoch 5 is damaged (checkpoint.json is missing): started from scratch")


def test_older_ones_of_before_a_takeover_are_not_mixed_in(tmp_path: Path) -> None:
    """After epoch 4 the trial took over another one's state: its own checkpoint of epoch 4 does not lead to epoch 5."""
    theirs = checkpoint(tmp_path / "theirs" / "checkpoint_000003", 4, OTHER)
    source = Origin(str(theirs), 4)
    checkpoint(tmp_path / "ours" / "checkpoint_000003", 4)
    ours = checkpoint(tmp_path / "ours" / "checkpoint_000004", 5, source=source)
    flip_a_bit(ours)
    found = read_newest(ours, 5, TRIAL)
    assert found.origin == Origin(str(theirs), 4, (Stage(TRIAL, 5),), data_of(4))
    flip_a_bit(theirs)  # theirs is made anew, with their configuration, and then ours
    assert read_newest(ours, 5, TRIAL).origin == Origin(None, 0, (Stage(OTHER, 4), Stage(TRIAL, 5)))


def test_a_marker_leads_to_the_checkpoint_of_before_the_interruption(tmp_path: Path) -> None:
    real = checkpoint(tmp_path / "old" / "checkpoint_000002", 3)
    folder = tmp_path / "new" / "checkpoint_000000"
    folder.mkdir(parents=True)
    origin = Origin(str(real), 3).then(TRIAL, 4)
    write_marker(folder, CheckpointInfo("mdr-001", 4, TRIAL, origin=origin))
    assert [file.name for file in folder.iterdir()] == [INFO_FILE]
    found = read_newest(folder, None, OTHER)
    assert found.origin == origin
    whole = complete(found.origin, TRIAL)
    assert whole.origin == dataclasses.replace(origin, data=data_of(3))
    assert complete(whole.origin, TRIAL).origin is whole.origin  # not read again
    checkpoint(tmp_path / "old" / "checkpoint_000001", 2)
    flip_a_bit(real)
    again = complete(found.origin, TRIAL)
    assert again.origin.epoch == 2
    assert again.origin.until == 4
    assert again.note == "the checkpoint of epoch 3 is damaged (sha256 differs): went on from epoch 2"


def test_stages_of_one_configuration_are_one_and_empty_ones_vanish() -> None:
    origin = Origin("folder", 2)
    assert origin.then(TRIAL, 3).then(TRIAL, 5).stages == (Stage(TRIAL, 5),)
    assert origin.then(TRIAL, 3).then(OTHER, 5).stages == (Stage(TRIAL, 3), Stage(OTHER, 5))
    assert origin.then(TRIAL, 2).then(OTHER, 5).stages == (Stage(OTHER, 5),)
    assert (origin.until, origin.then(TRIAL, 3).until) == (2, 3)
