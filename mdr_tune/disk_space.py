"""Whether something fits on a disk, asked before it is written."""

import shutil
from pathlib import Path

from mdr_tune.errors import UserError

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
