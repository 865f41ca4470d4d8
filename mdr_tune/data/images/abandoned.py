"""Find and delete temporary files that killed processes left half-written, but not those still being written."""

import fcntl
from contextlib import suppress
from pathlib import Path


def remove_abandoned(folder: Path, held: Path | None = None) -> None:
    """Delete the files that `abandoned(folder, held)` returns: temporary files that no process writes any more.

    Files of all data sets are deleted, not only of the caller's, because a killed sweep may never be started again.
    """
    for temporary in abandoned(folder, held):
        temporary.unlink(missing_ok=True)


def abandoned(folder: Path, held: Path | None = None) -> list[Path]:
    """Return the temporary files in `folder` that no process writes any more, sorted.

    `atomic_write` writes to a temporary file `TARGET.RANDOM.tmp`, which stays behind if the process is killed. While a
    process writes, it holds the lock of TARGET. So a temporary file is abandoned if no process holds the lock of its
    TARGET. `held` is a TARGET whose lock the caller holds; its temporary files are abandoned too.
    """
    found = []
    for temporary in sorted(folder.glob("*.tmp")):
        target = folder / Path(temporary.stem).stem
        if target == held or not is_locked(target):
            found.append(temporary)
    return found


def abandoned_sizes(folder: Path) -> list[tuple[Path, int]]:
    """Return the `abandoned` files in `folder` with their sizes in bytes. A file that was just removed is left out."""
    sizes = []
    for path in abandoned(folder):
        with suppress(FileNotFoundError):
            sizes.append((path, path.stat().st_size))
    return sizes


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock that `mdr_tune.util.cache_folder.locked` takes for `path`."""
    try:
        with path.with_name(path.name + ".lock").open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # the lock is taken, or it is another user's and cannot be tried
        return True
    return False
