"""Half-written files of processes that were killed, and how to tell them from those that are being written."""

import fcntl
from contextlib import suppress
from pathlib import Path


def remove_abandoned(folder: Path, held: Path | None = None) -> None:
    """Delete the temporary files in `folder` that nobody writes any more.

    All names are looked at, since the files may be large, and a killed sweep is not always started again as it was.

    Args:
        folder: of the files.
        held: the path in it whose lock the caller has.
    """
    for temporary in abandoned(folder, held):
        temporary.unlink(missing_ok=True)


def abandoned(folder: Path, held: Path | None = None) -> list[Path]:
    """Return these files, sorted.

    `atomic_write` removes its own file, unless the process is killed. The file would have become the name without its
    last two parts, and who writes it holds the lock of that name.
    """
    found = []
    for temporary in sorted(folder.glob("*.tmp")):
        target = folder / Path(temporary.stem).stem
        if target == held or not is_locked(target):
            found.append(temporary)
    return found


def abandoned_sizes(folder: Path) -> list[tuple[Path, int]]:
    """Return these files with their sizes in bytes; one that another process removes meanwhile is left out."""
    sizes = []
    for path in abandoned(folder):
        with suppress(FileNotFoundError):
            sizes.append((path, path.stat().st_size))
    return sizes


def is_locked(path: Path) -> bool:
    """Return whether somebody holds the lock that belongs to `path`, as `mdr_tune.util.cache_files.locked` does."""
    try:
        with path.with_name(path.name + ".lock").open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # taken; or another user's, so that nothing is known
        return True
    return False
