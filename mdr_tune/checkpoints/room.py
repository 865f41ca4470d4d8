"""Write a checkpoint once there is room for it, instead of failing a trial whose state would be lost."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mdr_tune.util.disk_space import GIVE_UP_AFTER_S, until_room

SPARE_BYTES = 1 << 20
"""What is left alone beside a checkpoint, for the small files of everybody else."""
T = TypeVar("T")


def write_when_there_is_room(
    write: Callable[[], T],
    folders: list[Path],
    size_bytes: int,
    tell: Callable[[str], None],
    poll_s: float | None = None,
    give_up_after_s: float = GIVE_UP_AFTER_S,
) -> T:
    """Call `write` once there is room, and again if the disk turns out to be full; returns what it returns.

    Args:
        write: Writes the files, and leaves nothing behind when it raises.
        folders: Existing ones, each of which will take `size_bytes` more; several may be on the same disk.
        size_bytes: How much one copy takes.
        tell: Takes a line when the waiting begins, and when it is over.
        poll_s: Time between two looks; see `until_room`.
        give_up_after_s: How long to wait.

    Raises:
        OSError: There was no room for too long; or what `write` raises, but for a full disk.
    """

    def attempt() -> T:
        _check_room(folders, size_bytes)
        return write()

    return until_room(attempt, f"a checkpoint below {folders[-1]}", tell, poll_s, give_up_after_s)


def _check_room(folders: list[Path], size_bytes: int) -> None:
    """Raise what a full disk raises unless each of the folders has room for all that goes to its disk."""
    wanted: dict[int, int] = {}
    for folder in folders:
        device = folder.stat().st_dev
        wanted[device] = wanted.get(device, SPARE_BYTES) + size_bytes
        if shutil.disk_usage(folder).free < wanted[device]:
            raise OSError(errno.ENOSPC, "no room for a checkpoint", str(folder))
