"""Wait for room on a full disk, instead of failing a trial whose state would be lost."""

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

POLL_S = 2.0
GIVE_UP_AFTER_S = 1800.0
SPARE_BYTES = 1 << 20
"""What is left alone beside a checkpoint, for the small files of everybody else."""
T = TypeVar("T")


def write_when_there_is_room(
    write: Callable[[], T],
    folders: list[Path],
    size_bytes: int,
    tell: Callable[[str], None],
    poll_s: float = POLL_S,
    give_up_after_s: float = GIVE_UP_AFTER_S,
) -> T:
    """Call `write` once there is room, and again if the disk turns out to be full; returns what it returns.

    Args:
        write: Writes the files, and leaves nothing behind when it raises.
        folders: Existing ones, each of which will take `size_bytes` more; several may be on the same disk.
        size_bytes: How much one copy takes.
        tell: Takes a line when the waiting begins, and when it is over.
        poll_s: Time between two looks.
        give_up_after_s: How long to wait.

    Raises:
        OSError: There was no room for too long; or what `write` raises, but for a full disk.
    """
    full: Path | None = None
    waited_from = time.monotonic()
    while True:
        missing = _without_room(folders, size_bytes)
        if missing is None:
            try:
                result = write()
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                missing = folders[-1]
            else:
                if full is not None:
                    tell(f"the disk of {full} has room again: going on")
                return result
        if full is None:
            full = missing
            tell(f"the disk of {full} is full: waiting for room")
        if time.monotonic() - waited_from > give_up_after_s:
            raise OSError(errno.ENOSPC, f"the disk was full for {give_up_after_s / 60:.0f} minutes", str(full))
        time.sleep(poll_s)


def _without_room(folders: list[Path], size_bytes: int) -> Path | None:
    """Return a folder whose disk has no room for all that goes there; None if each has."""
    wanted: dict[int, int] = {}
    for folder in folders:
        device = folder.stat().st_dev
        wanted[device] = wanted.get(device, SPARE_BYTES) + size_bytes
        if shutil.disk_usage(folder).free < wanted[device]:
            return folder
    return None
