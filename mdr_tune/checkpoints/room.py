"""Wait until there is room for a checkpoint, instead of failing a trial whose state would be lost."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mdr_tune.util.disk_space import GIVE_UP_AFTER_S, until_room

SPARE_BYTES = 1 << 20
"""Number of bytes that stay free beside a checkpoint, for the small files of other programs."""
T = TypeVar("T")


def write_when_there_is_room(
    write: Callable[[], T],
    folders: list[Path],
    size_bytes: int,
    tell: Callable[[str], None],
    poll_s: float | None = None,
    give_up_after_s: float = GIVE_UP_AFTER_S,
) -> T:
    """Call `write` once there is room, again if the disk turns out to be full, and return its result.

    Args:
        write: Function that writes the files. It leaves nothing behind when it raises.
        folders: Existing folders, each of which will take `size_bytes` more. Several may be on the same disk.
        size_bytes: Size of the files in one folder.
        tell: Function that is called with a line of text when the waiting begins, and when it is over.
        poll_s: Time between two tries in seconds; None is that of `until_room`.
        give_up_after_s: Longest time to wait, in seconds.

    Raises:
        OSError: There was no room for too long.
        Exception: Any error of `write` other than a full disk.
    """

    def attempt() -> T:
        _check_room(folders, size_bytes)
        return write()

    return until_room(attempt, f"a checkpoint below {folders[-1]}", tell, poll_s, give_up_after_s)


def _check_room(folders: list[Path], size_bytes: int) -> None:
    """Raise the OSError of a full disk unless each disk has room for the files of all folders on it."""
    wanted: dict[int, int] = {}
    for folder in folders:
        device = folder.stat().st_dev
        wanted[device] = wanted.get(device, SPARE_BYTES) + size_bytes
        if shutil.disk_usage(folder).free < wanted[device]:
            raise OSError(errno.ENOSPC, "no room for a checkpoint", str(folder))
