"""Half-written files of processes that were killed, and how to tell them from those that are being written."""

import fcntl
from pathlib import Path


def remove_abandoned(path: Path) -> None:
    """Delete the temporary files in `path`'s folder that nobody writes any more; call it with `path` locked.

    `atomic_write` removes its own file, unless the process is killed. The file would have become the name without its
    last two parts, and who writes it holds the lock of that name, as the caller holds the lock of `path`. All names
    are looked at, since the files may be large, and a killed sweep is not always started again as it was.
    """
    for temporary in path.parent.glob("*.tmp"):
        target = Path(temporary.stem).stem
        if target == path.name or not _is_locked(path.with_name(target + ".lock")):
            temporary.unlink(missing_ok=True)


def _is_locked(lock: Path) -> bool:
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
