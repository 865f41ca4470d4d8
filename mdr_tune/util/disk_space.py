"""Check the free space on a disk before writing, and wait while a disk is full."""

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mdr_tune.util.errors import UserError

T = TypeVar("T")
POLL_S = 2.0
"""Time between two tries to write while the disk is full, in seconds."""
GIVE_UP_AFTER_S = 1800.0
"""Time after which a write to a full disk is given up, in seconds."""

_UNITS = ("bytes", "kB", "MB", "GB")


def format_bytes(size_bytes: int) -> str:
    """Return `size_bytes` in words, such as `1.15 GB`. A kB is 1000 bytes."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    power = 3 if size_bytes >= 1e9 else 2 if size_bytes >= 1e6 else 1
    size = size_bytes / 1000**power
    return f"{size:.3g} {_UNITS[power]}" if size < 999.5 else f"{size:,.0f} {_UNITS[power]}"


def check_free(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Raise a UserError if the disk of `folder`, which must exist, has no room for `needed_bytes` more bytes.

    `purpose` says in the message why the room is needed, such as "to unpack x.tgz".
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise UserError(
            f"not enough disk space {purpose}: {format_bytes(needed_bytes)} are needed and {format_bytes(free)} are "
            f"free in {folder}. Make room, or choose a folder on another disk"
        )


def is_full(error: BaseException) -> bool:
    """Return whether a full disk, or a full quota, caused `error`.

    The error may be an OSError, SQLite's error for a full disk, or an exception that such an error caused.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "database or disk is full" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def until_room(
    action: Callable[[], T],
    place: object,
    tell: Callable[[str], None],
    poll_s: float | None = None,
    give_up_after_s: float = GIVE_UP_AFTER_S,
) -> T:
    """Return the result of `action`, which writes to a disk; while the disk is full, wait and call `action` again.

    Args:
        action: function that writes. It may be called several times, so it must leave nothing behind if it raises.
        place: name of the file or store that is written, for messages.
        tell: function that takes a line for the user. It is called when the wait begins, and when there is room again.
        poll_s: time between two calls of `action`, in seconds; None stands for POLL_S.
        give_up_after_s: time in seconds after which the error is raised if the disk is still full.

    Raises:
        Exception: the error of `action`, if it is not about a full disk, or if the wait has lasted `give_up_after_s`.
    """
    waiting_since: float | None = None
    while True:
        try:
            result = action()
        except Exception as error:
            if not is_full(error):
                raise
            if waiting_since is None:
                waiting_since = time.monotonic()
                minutes = f"{give_up_after_s / 60:.0f} minutes"
                tell(f"the disk is full: {place} cannot be written. Make room; the sweep waits {minutes}")
            elif time.monotonic() - waiting_since > give_up_after_s:
                raise
            time.sleep(POLL_S if poll_s is None else poll_s)
        else:
            if waiting_since is not None:
                tell(f"there is room again: {place} is written")
            return result
