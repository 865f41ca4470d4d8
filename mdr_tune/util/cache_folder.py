"""Find the cache folder, and lock files in it, so that several processes can use it."""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mdr_tune.util.errors import UserError
from mdr_tune.util.files import why_not_writable

logger = logging.getLogger(__name__)

_SILENT_TRIES, _TRY_EVERY_S = 10, 0.05
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def cache_dir() -> Path:
    """Return the folder for prepared data sets. If it does not exist, make it.

    The folder is `$MDR_TUNE_CACHE` if this variable is set, else `$XDG_CACHE_HOME/mdr_tune` if that variable is set,
    else `~/.cache/mdr_tune`. An existing folder may be read-only: its files can be used, and `locked` raises UserError
    if something has to be written. UserError is raised if the folder cannot be made or read.
    """
    folder = _cache_location()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(_not_writable(str(folder), str(error))) from error
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(_not_writable(str(folder), "permission denied"))
    return folder


def check_cache_dir() -> Path:
    """Return the folder of `cache_dir` without making it. Raise a UserError if `cache_dir` would."""
    folder = _cache_location()
    if (problem := why_not_writable(folder)) and not _can_be_read(folder):
        raise UserError(_not_writable(str(folder), problem))
    return folder


def check_cache_writable() -> None:
    """Raise a UserError if nothing can be written to the folder of `cache_dir`, which need not exist."""
    folder = _cache_location()
    if problem := why_not_writable(folder):
        raise UserError(_not_writable(str(folder), problem))


def _can_be_read(folder: Path) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)


def _cache_location() -> Path:
    if own := os.environ.get("MDR_TUNE_CACHE"):
        return Path(os.path.expanduser(own)).absolute()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(os.path.expanduser(xdg)).absolute() / "mdr_tune"
    try:
        return Path.home() / ".cache" / "mdr_tune"
    except RuntimeError as error:  # no HOME, and the user is not in the password database
        raise UserError(_not_writable("~/.cache/mdr_tune", str(error))) from error


def _not_writable(folder: str, reason: str) -> str:
    return (
        f"cannot write to the cache folder {folder} ({reason}): "
        "set the environment variable MDR_TUNE_CACHE to a writable folder"
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file `path` within the block. If another process has the lock, wait for it.

    The lock is on a file `<name>.lock` in the same folder. A warning is logged if the wait takes more than half a
    second. Shorter waits are common, because a process that only opens a file holds its lock for a moment.

    The kernel releases the lock when the process that holds it ends, so that a killed process blocks no other process.
    The lock file is not deleted: otherwise two processes could lock two different files of the same name.

    In a part of the cache folder that can only be read, nobody writes, so no lock is needed. If the block tries to
    write there, UserError is raised.
    """
    try:
        lock_file = path.with_name(path.name + ".lock").open("ab")
    except OSError as error:
        if error.errno not in _READ_ONLY or not path.is_relative_to(_cache_location()):
            raise
        lock_file = None
    if lock_file is None:
        try:
            yield
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            raise UserError(_not_writable(str(path.parent), str(error.strerror))) from error
        return
    with lock_file:
        _acquire(lock_file, path)
        yield


def _acquire(lock_file: BinaryIO, path: Path) -> None:
    for _ in range(_SILENT_TRIES):
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TRY_EVERY_S)
        else:
            return
    logger.warning("waiting for another process that is making %s", path)
    fcntl.flock(lock_file, fcntl.LOCK_EX)
