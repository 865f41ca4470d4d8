"""Files on a disk: told from pipes and devices, looked for a place to be in, and written whole or not at all."""

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
    """There is something else in a file's place."""

    def __init__(self, file: Path | str, kind: str) -> None:
        super().__init__(errno.EINVAL, f"it is {kind}, and a file on a disk is needed", str(file))

    def __str__(self) -> str:
        return str(self.strerror)


def check_on_disk(file: Path | str) -> None:
    """Check that nothing but a file or a folder is in a file's place, if anything is.

    Raises:
        NotOnDisk: It is a pipe, a device or a socket: to open it may take for ever, and so may reading it.
    """
    try:
        kind = stat.S_IFMT(os.stat(file).st_mode)
    except OSError:
        return  # whoever opens it says so
    if kind in _KINDS:
        raise NotOnDisk(file, _KINDS[kind])


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


@contextmanager
def atomic_write(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a temporary file in `path`'s folder that becomes `path` if the block ends without an error.

    Readers see the old file or the whole new one, even after a power cut.

    Args:
        path: The file, new or old.
        mode: Permission bits of the file; a cache may be shared between users.

    Raises:
        NotOnDisk: (an OSError) `path` is a pipe or a device, which a file would replace.
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
