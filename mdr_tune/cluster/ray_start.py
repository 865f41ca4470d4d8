"""Check that Ray can start on this machine, and make the message for a failed start."""

import os
import resource
from pathlib import Path

from mdr_tune.cluster.auth_token import token_file
from mdr_tune.util.errors import UserError

LONGEST_SOCKET_PATH = 107
"""Longest path of a socket in bytes: the size of `sun_path` in unix(7), less its final zero byte."""
SOCKET = "ray/session_2026-01-31_23-59-59_999999_{pid}/sockets/dash_MetricsHead"
"""The longest of the paths of Ray's sockets, relative to Ray's folder for temporary files."""
SHARED_MEMORY = Path("/dev/shm")
FEWEST_OPEN_FILES = 128
"""Number of files that a process must be allowed to open. Ray does not start with 40; macOS allows 256."""


def temporary_folder() -> tuple[str, Path]:
    """Return the environment variable that sets Ray's temporary folder, and the folder; else RAY_TMPDIR and /tmp."""
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        if variable in os.environ:
            return variable, Path(os.environ[variable])
    return "RAY_TMPDIR", Path("/tmp")


def check_ray_can_start(shared_memory: Path = SHARED_MEMORY) -> None:
    """Raise UserError unless this machine, whose shared memory is `shared_memory`, has what Ray needs to start.

    The message has one line for each reason, which says what to change.
    """
    variable, folder = temporary_folder()
    given = f"{variable}={folder}" if variable in os.environ else str(folder)
    room = LONGEST_SOCKET_PATH - len(os.fsencode(SOCKET.format(pid=os.getpid()))) - 1
    instead = f"set RAY_TMPDIR to a folder that is there, can be written and has a path of at most {room} bytes"
    problems = [f"{given}: {why}; {instead}" for why in _folder_problems(folder, room)[:1]]
    token = token_file()
    if os.path.exists(token) and not (os.path.isfile(token) and os.access(token, os.R_OK)):
        problems.append(f"{token}: Ray keeps its token in it, but it is no file that can be read: move it away")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < FEWEST_OPEN_FILES:
        problems.append(f"a process may have fewer than {FEWEST_OPEN_FILES} files open: raise it, with ulimit -n 4096")
    if not os.access(shared_memory, os.W_OK | os.X_OK):
        problems.append(f"{shared_memory}: Ray keeps objects in it, but it is not there or cannot be written: mount it")
    if problems:
        raise UserError("\n".join(f"Ray cannot start here: {problem}" for problem in problems))


def _folder_problems(folder: Path, room: int) -> list[str]:
    """Return sentences on what is wrong with Ray's `folder` for temporary files, the most basic problem first.

    `room` is the largest length of the folder's path, in bytes.
    """
    problems = []
    length = len(os.fsencode(folder))
    if not folder.is_absolute():
        problems.append("it is not absolute, and Ray's processes have other working folders")
    if not folder.is_dir():
        problems.append("it is a file" if folder.exists() else "there is no such folder")
    for used in (folder, folder / "ray"):
        if used.exists() and not (used.is_dir() and os.access(used, os.W_OK | os.X_OK)):
            problems.append(f"{used} is not a folder that this user can write to")
    if length > room:
        problems.append(f"it has {length} bytes, and a socket of Ray's in it a path of more than {LONGEST_SOCKET_PATH}")
    return problems


def start_failure(error: Exception) -> str:
    """Return the message for the user after Ray failed to start with `error`."""
    why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    logs = temporary_folder()[1] / "ray" / "session_latest" / "logs"
    return (
        f"Ray did not start: {why}. Its logs are in {logs}. On a machine that is busy, try again later, or with fewer "
        "CPUs (taskset); where a disk is full or memory short, make room, or set RAY_TMPDIR to another folder"
    )
