"""A disk that is full, a real one: a file system of 4 MiB in memory."""

import errno
import os
import threading
from pathlib import Path

import pytest

from mdr_tune.checkpoints.checkpoint_file import CheckpointInfo, read_checkpoint, write_checkpoint
from mdr_tune.checkpoints.room import SPARE_BYTES, write_when_there_is_room

MIB = 1 << 20


def check_told(told: list[str], folder: Path) -> None:
    waits, goes_on = told
    assert waits.startswith(f"the disk is full: a checkpoint below {folder} cannot be written")
    assert goes_on == f"there is room again: a checkpoint below {folder} is written"


def free_later(ballast: Path) -> threading.Timer:
    timer = threading.Timer(0.2, ballast.unlink)
    timer.start()
    return timer


def test_a_checkpoint_waits_for_room_and_the_old_one_stays(small_disk: Path) -> None:
    old, new = small_disk / "checkpoint_000000", small_disk / "checkpoint_000001"
    old.mkdir()
    new.mkdir()
    write_checkpoint(old, b"old", CheckpointInfo("mdr-001", 1, {}))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 * MIB))
    data, told = bytes(2 * MIB), list[str]()
    timer = free_later(ballast)
    write_when_there_is_room(
        lambda: write_checkpoint(new, data, CheckpointInfo("mdr-001", 2, {})), [new], len(data), told.append, 0.02
    )
    timer.join()
    assert read_checkpoint(new) == data
    assert read_checkpoint(old) == b"old"
    check_told(told, new)


def test_a_disk_that_fills_up_while_it_is_written_is_treated_alike(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 * MIB))
    data, told, tries = bytes(3 * MIB), list[str](), list[int]()
    info = CheckpointInfo("mdr-001", 2, {})
    timer = free_later(ballast)

    def write() -> None:
        tries.append(len(list(small_disk.iterdir())))
        write_checkpoint(small_disk, data, info)

    write_when_there_is_room(write, [small_disk], 0, told.append, 0.02)  # asks for no room: finds out by writing
    timer.join()
    assert read_checkpoint(small_disk) == data
    assert len(tries) > 1
    assert set(tries[:-1]) == {1}  # an unfinished file was not left behind
    check_told(told, small_disk)


def test_two_copies_on_one_disk_need_twice_the_room(small_disk: Path) -> None:
    other = small_disk / "other"
    other.mkdir()
    size = (4 * MIB - SPARE_BYTES) * 2 // 3
    told: list[str] = []
    assert write_when_there_is_room(lambda: 1, [small_disk], size, told.append, 0.01, 0.0) == 1
    with pytest.raises(OSError, match="no room for a checkpoint") as caught:
        write_when_there_is_room(lambda: 1, [small_disk, other], size, told.append, 0.01, 0.05)
    assert caught.value.errno == errno.ENOSPC
    assert len(told) == 1


def test_another_error_is_raised_at_once(tmp_path: Path) -> None:
    tries: list[int] = []

    def write() -> None:
        tries.append(1)
        os.stat(tmp_path / "missing")

    with pytest.raises(FileNotFoundError):
        write_when_there_is_room(write, [tmp_path], 1, lambda text: None, 0.01)
    assert len(tries) == 1
