"""Files on a disk: tell them from pipes and devices, check where they can be written, and write them atomically."""

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
    """A pipe, a device or a socket is in the place of a file."""

    def __init__(self, file: Path | str, kind: str) -> None:
        super().__init__(errno.EINVAL, f"it is {kind}, and a file on a disk is needed", str(file))

    def __str__(self) -> str:
        return str(self.strerror)


def check_on_disk(file: Path | str) -> None:
    """Check that a path is a file or a folder, or that nothing is there.

    Raises:
        NotOnDisk: The path is a pipe, a device or a socket. To open or to read it might never return.
    """
    try:
        kind = stat.S_IFMT(os.stat(file).st_mode)
    except OSError:
        return  # the error comes again when the file is opened
    if kind in _KINDS:
        raise NotOnDisk(file, _KINDS[kind])


def why_not_writable(folder: Path) -> str | None:
    """Return why a folder cannot be made or written to; None if it can be. Nothing is left behind."""
    try:
        existing = existing_folder(folder)
        if not existing.is_dir():
            return f"{existing} is {'a file' if existing.exists() else 'a link that leads nowhere'}"
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return error.strerror or str(error)


def existing_folder(path: Path) -> Path:
    """Return the path if it exists, else the nearest one above it; a broken link counts as existing.

    Raises:
        OSError: A name in the path is too long.
    """
    return next(folder for folder in (path, *path.parents) if folder.exists() or folder.is_symlink())


@contextmanager
def atomic_write(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a temporary file in the folder of `path`. It becomes `path` if the block ends without an error.

    Readers see the old file or the whole new one, even after a power cut.

    Args:
        path: Path of the file, which may exist.
        mode: Permission bits of the file. The default lets other users read it, as a cache may be shared.

    Raises:
        NotOnDisk: `path` is a pipe, a device or a socket, which the file would replace.
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
