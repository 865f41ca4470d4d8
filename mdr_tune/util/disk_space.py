"""Whether something fits on a disk, asked before it is written; and what to do while it does not."""

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mdr_tune.util.errors import UserError

T = TypeVar("T")
POLL_S = 2.0
"""How often a write is tried again while the disk is full."""
GIVE_UP_AFTER_S = 1800.0

_UNITS = ("bytes", "kB", "MB", "GB")


def format_bytes(size_bytes: int) -> str:
    """Return a size as people read it, in powers of 1000: `1.15 GB`."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    power = 3 if size_bytes >= 1e9 else 2 if size_bytes >= 1e6 else 1
    size = size_bytes / 1000**power
    return f"{size:.3g} {_UNITS[power]}" if size < 999.5 else f"{size:,.0f} {_UNITS[power]}"


def check_free(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Check that a folder's disk has room for `needed_bytes` more.

    Args:
        folder: an existing one.
        needed_bytes: how much is going to be written.
        purpose: what for, as in "to unpack x.tgz".

    Raises:
        UserError: it has not; the message says how much is needed and how much is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise UserError(
            f"not enough disk space {purpose}: {format_bytes(needed_bytes)} are needed and {format_bytes(free)} are "
            f"free in {folder}. Make room, or choose a folder on another disk"
        )


def is_full(error: BaseException) -> bool:
    """Say whether an error, or what it came from, is that a disk is full (SQLite's message too)."""
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
    """Do something that writes; while the disk is full, wait and try again.

    Args:
        action: May be called several times, so it leaves nothing behind when it raises.
        place: What is written, for the message.
        tell: Is told once that it waits, and once that it goes on.
        poll_s: Time between two tries; POLL_S unless given.
        give_up_after_s: How long to wait.

    Raises:
        Exception: Whatever else `action` raises; and that the disk is full, after `give_up_after_s`.
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
