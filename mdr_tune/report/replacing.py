"""Put a folder in the place of another, so that there is a whole one under its name at any time but an instant."""

import errno
import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ABANDONED_S = 86400.0
"""A hidden folder in the making that is older than this, in seconds, is a crash's: a report takes minutes."""
ATTEMPTS = 20
"""To take the place, which others may take at the same time."""


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty hidden folder beside `folder` that takes its place at the end; after an exception nothing changed.

    Several processes may do so at once: each has a folder of its own, and the last to end is what stays.

    Raises:
        OSError: The place cannot be written, or is a link that leads round in a loop.
    """
    target = _leads_to(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    restore(folder)
    token = secrets.token_hex(4)
    made, old = (target.with_name(f".{target.name}.{token}.{part}") for part in ("part", "old"))
    made.mkdir()
    try:
        yield made
        _take_place(made, target, old)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        restore(folder)


def restore(folder: Path) -> None:
    """Put back what a crash, between moving the old folder away and the new one in, has left under a hidden name.

    Hidden folders that are of no use any more are removed.
    """
    target = _leads_to(folder)
    for old in _beside(target, "old"):
        with suppress(OSError):  # another process takes the place now: then there is one
            if not target.exists():
                old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    for part in _beside(target, "part"):
        with suppress(OSError):  # gone meanwhile
            if time.time() - part.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(part, ignore_errors=True)


def _leads_to(folder: Path) -> Path:
    """Return what a path stands for, links followed; OSError if they lead round in a loop."""
    target = Path(os.path.realpath(folder))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
    return target


def _beside(target: Path, part: str) -> list[Path]:
    return sorted(target.parent.glob(f".{glob.escape(target.name)}.*.{part}"))


def _take_place(made: Path, target: Path, old: Path) -> None:
    """Move `made` to `target`, and what is there to `old`; again if another process was quicker in between."""
    for attempt in range(ATTEMPTS):
        with suppress(FileNotFoundError):
            target.rename(old)
        try:
            made.rename(target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == ATTEMPTS - 1:
                raise
        shutil.rmtree(old, ignore_errors=True)  # the other's is the newest now
