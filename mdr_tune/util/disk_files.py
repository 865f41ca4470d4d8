"""Files on a disk, as opposed to pipes, devices and sockets, which may never end or never begin."""

import errno
import os
import stat
from pathlib import Path

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
