"""The cache folder, and how several processes share what is made in it: a lock and an atomic rename."""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mdr_tune.util.disk_files import check_on_disk
from mdr_tune.util.errors import UserError

logger = logging.getLogger(__name__)

_SILENT_TRIES, _TRY_EVERY_S = 10, 0.05


def cache_dir() -> Path:
    """Return the folder for prepared data sets, which exists and is writable.

    It is `$MDR_TUNE_CACHE`; unless that is set, `$XDG_CACHE_HOME/mdr_tune`; unless that is set,
    `~/.cache/mdr_tune`.

    Raises:
        UserError: the folder cannot be made or written to; the message names MDR_TUNE_CACHE.
    """
    folder = _cache_location()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(_not_writable(str(folder), str(error))) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(_not_writable(str(folder), "permission denied"))
    return folder


def check_cache_dir() -> Path:
    """Return the folder of `cache_dir`, which exists or can be made; nothing is made.

    Raises:
        UserError: as `cache_dir`.
    """
    folder = _cache_location()
    if problem := why_not_writable(folder):
        raise UserError(_not_writable(str(folder), problem))
    return folder


def why_not_writable(folder: Path) -> str | None:
    """Say why a folder cannot be written, or made; None if it can. Nothing is left behind."""
    try:
        existing = existing_folder(folder)
        if not existing.is_dir():
            return f"{existing} is {'a file' if existing.exists() else 'a link that leads nowhere'}"
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return error.strerror or str(error)


def existing_folder(path: Path) -> Path:
    """Return the path, or the nearest one above it that exists, if only as a link; OSError if a name is too long."""
    return next(folder for folder in (path, *path.parents) if folder.exists() or folder.is_symlink())


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
    """Hold the lock that belongs to `path` (a file beside it, `<name>.lock`); wait for it if need be.

    A wait that is not over in half a second is told by a warning: who only opens a file holds its lock a moment.
    The kernel drops the lock when its holder ends, however that happens, so a killed process blocks
    nobody. The lock file stays: deleting it would let two processes hold different files of one name.
    """
    with path.with_name(path.name + ".lock").open("ab") as lock_file:
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


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file in `path`'s folder that becomes `path` if the block ends without an error.

    Readers see the old file or the whole new one, even after a power cut.

    Raises:
        NotOnDisk: (an OSError) `path` is a pipe or a device, which a file would replace.
    """
    check_on_disk(path)
    descriptor, temporary = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(descriptor, 0o644)  # mkstemp gives 0600; a cache may be shared between users
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
