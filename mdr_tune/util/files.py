"""Write files atomically, and check that a path can be written to and is no pipe or device."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


class NotOnDisk(OSError):  # noqa: N818 - an OSError that says what is there instead
    """A path leads to a pipe, a device or a socket, where a file on a disk is needed."""

    def __init__(self, file: Path | str, kind: str) -> None:
        super().__init__(errno.EINVAL, f"it is {kind}, and a file on a disk is needed", str(file))

    def __str__(self) -> str:
        return str(self.strerror)


def check_on_disk(file: Path | str) -> None:
    """Raise `NotOnDisk` if `file` is a pipe, a device or a socket, on which a program might wait for ever.

    `file` may be a file or a folder, or not exist.
    """
    try:
        kind = stat.S_IFMT(os.stat(file).st_mode)
    except OSError:
        return  # the error comes again when the file is opened
    if kind in _KINDS:
        raise NotOnDisk(file, _KINDS[kind])


def why_not_writable(folder: Path) -> str | None:
    """Return the reason why `folder` cannot be made or written to; None if there is no reason.

    The check leaves nothing behind on the disk.
    """
    try:
        existing = existing_folder(folder)
        if not existing.is_dir():
            return f"{existing} is {'a file' if existing.exists() else 'a link that leads nowhere'}"
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return error.strerror or str(error)


def existing_folder(path: Path) -> Path:
    """Return `path` if it exists, even as a broken link, else the nearest folder above it that exists.

    Raise OSError if a name in the path is too long.
    """
    return next(folder for folder in (path, *path.parents) if folder.exists() or folder.is_symlink())


@contextmanager
def atomic_write(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a temporary file for the block. It replaces the file at `path` if the block ends without an error.

    A reader of `path` always gets the old file or the whole new file, even after a power cut. If the block raises an
    error, the temporary file is removed. If `path` is a pipe, a device or a socket, `NotOnDisk` is raised.

    `mode` has the permission bits of the new file. By default, other users can read it, because a cache may be shared.
    """
    check_on_disk(path)
    descriptor, temporary = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(descriptor, mode)  # mkstemp gives 0600
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
