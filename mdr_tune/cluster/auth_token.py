"""Make Ray's token, without which Ray's processes refuse requests, and keep other users from reading it."""

import contextlib
import logging
import os
import secrets
import stat
import tempfile
from pathlib import Path

logger = logging.getLogger(__name__)

OTHERS = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
TOKEN_BYTES = 32
"""Length of a token in bytes, as Ray makes them."""


def guard_token() -> None:
    """Make Ray's token if there is none, and keep other users from reading or changing its file.

    Ray would make the file with permissions from the umask, which may let other users read it. If the file cannot be
    written, the token is put into the environment of this process and of the processes that it starts.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return
    file = token_file()
    if not file.exists():
        try:
            _make(file)
        except OSError:
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(TOKEN_BYTES)
            return
    close_token(file)


def close_token(file: Path | None = None) -> None:
    """Remove other users' permissions for the token's `file`, and their permission to write to the file's folder.

    The file need not exist. None stands for `token_file()`. If others can still read the file, a warning is logged.
    """
    file = file or token_file()
    for path, closed in ((file.parent, OTHERS_WRITE), (file, OTHERS)):
        with contextlib.suppress(OSError):  # it belongs to another user, or does not exist
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~closed)
    with contextlib.suppress(OSError):
        if file.stat().st_mode & OTHERS:
            logger.warning(
                "other users of this machine can read or change Ray's token, %s: chmod 600 it, or set "
                "RAY_AUTH_TOKEN_PATH to one elsewhere",
                file,
            )


def token_file() -> Path:
    """Return the file in which Ray looks for its token."""
    return Path(os.path.expanduser(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"))


def _make(file: Path) -> None:
    """Write a new token to `file`, unless another process has written a token to it in the meantime."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f"{file.name}.", dir=file.parent)  # has mode 0600
    try:
        with os.fdopen(descriptor, "w") as written:
            written.write(secrets.token_hex(TOKEN_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        os.unlink(temporary)
