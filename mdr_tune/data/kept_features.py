"""List and remove the features of frozen networks that are kept in the cache folder.

`training.frozen_features` writes them: the numbers in `<key>.npy`, what they are of in `<key>.json`.
"""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mdr_tune.data.images.abandoned import is_locked

FOLDER = "features"
"""Name of the folder of the files within the cache folder."""


class KeptFeatures(NamedTuple):
    """One file of kept features.

    Attributes:
        about: what the features are of: `data`, `split`, `backbone`, `content` and others. Empty if that is not known.
        shape: number of images times views, and of features, (n, F); None if the file is damaged.
        bytes: size of the file in bytes.
    """

    path: Path
    about: dict[str, Any]
    shape: tuple[int, ...] | None
    bytes: int


def about_file(path: Path) -> Path:
    """Return the file that says what the features in `path` are of."""
    return path.with_suffix(".json")


def kept_features(folder: Path) -> list[KeptFeatures]:
    """Return the kept features in the cache folder `folder`, sorted by path, without a file that was just removed."""
    found = []
    for path in sorted((folder / FOLDER).glob("*.npy")):
        about, shape = dict[str, Any](), None
        with suppress(OSError, ValueError):
            about = json.loads(about_file(path).read_bytes())
        with suppress(OSError, ValueError):
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        with suppress(FileNotFoundError):
            found.append(KeptFeatures(path, about, shape, path.stat().st_size))
    return found


def unfinished_features(folder: Path) -> list[tuple[Path, int]]:
    """Return the folders of features in the cache folder `folder` that a launch left unfinished, and their bytes.

    A folder in which a process computes a block, and holds its lock, is left out.
    """
    parts = sorted((folder / FOLDER).glob("*.parts"))
    left = [path for path in parts if not any(is_locked(lock.with_suffix("")) for lock in path.glob("*.lock"))]
    return [(path, sum(file.stat().st_size for file in path.glob("*.npy"))) for path in left]


def remove_features(path: Path) -> None:
    """Remove the kept features in the file `path`, or the folder `path` of unfinished ones.

    A process that reads them goes on to do so, since the file stays until no process has it mapped.
    """
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    path.unlink(missing_ok=True)
    about_file(path).unlink(missing_ok=True)
