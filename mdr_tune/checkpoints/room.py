"""Wait until the disk has room for a checkpoint. Otherwise the trial would fail, and its state would be lost."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mdr_tune.util.disk_space import GIVE_UP_AFTER_S, until_room

SPARE_BYTES = 1 << 20
"""Number of bytes that must stay free after a checkpoint is written, for the small files of other programs."""
T = TypeVar("T")


def write_when_there_is_room(
    write: Callable[[], T],
    folders: list[Path],
    size_bytes: int,
    tell: Callable[[str], None],
    poll_s: float | None = None,
    give_up_after_s: float = GIVE_UP_AFTER_S,
) -> T:
    """Wait until the disks have room, call `write`, and return its result. Repeat this if a disk is full nevertheless.

    Args:
        write: Function that writes the files. It leaves nothing behind when it raises.
        folders: Existing folders to which `write` adds files. Several of them may be on the same disk.
        size_bytes: Size of the files that `write` adds to each folder.
        tell: Function that is called with a line of text when the waiting begins, and when it is over.
        poll_s: Time between two tries, in seconds; None for the default of `until_room`.
        give_up_after_s: Time in seconds after which an OSError is raised. Other errors of `write` are raised at once.
    """

    def attempt() -> T:
        _check_room(folders, size_bytes)
        return write()

    return until_room(attempt, f"a checkpoint below {folders[-1]}", tell, poll_s, give_up_after_s)


def _check_room(folders: list[Path], size_bytes: int) -> None:
    """Raise the OSError for a full disk if a disk cannot hold `size_bytes` for each of its folders."""
    wanted: dict[int, int] = {}
    for folder in folders:
        device = folder.stat().st_dev
        wanted[device] = wanted.get(device, SPARE_BYTES) + size_bytes
        if shutil.disk_usage(folder).free < wanted[device]:
            raise OSError(errno.ENOSPC, "no room for a checkpoint", str(folder))
