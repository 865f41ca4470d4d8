"""List and remove the features of frozen networks that are kept in the cache folder.

`training.frozen_features` writes them: the features in `<key>.npy`, and a description of them in `<key>.json`.
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
        about: description of the features, with `data`, `split`, `backbone`, `content` and others; empty without one.
        shape: number of images times views, and of features, (n, F); None if the file is damaged.
        bytes: size of the file in bytes.
    """

    path: Path
    about: dict[str, Any]
    shape: tuple[int, ...] | None
    bytes: int


def about_file(path: Path) -> Path:
    """Return the path of the description of the features in `path`, a JSON file beside them."""
    return path.with_suffix(".json")


def kept_features(folder: Path) -> list[KeptFeatures]:
    """Return the kept features in the cache folder `folder`, sorted by path."""
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

    A process that has the file mapped can go on reading: the system keeps the data as long as a process maps them.
    """
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    path.unlink(missing_ok=True)
    about_file(path).unlink(missing_ok=True)
