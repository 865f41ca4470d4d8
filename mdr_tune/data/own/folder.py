"""Your own images in folders: a folder for each class, perhaps within a folder for each split."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES, OpenedDataset
from mdr_tune.data.listings.listing import BOTH, Listing
from mdr_tune.data.listings.listing_checks import examples
from mdr_tune.data.listings.open_listing import Opening, open_listing
from mdr_tune.data.own.split_words import SPLIT_WORDS
from mdr_tune.errors import UserError
from mdr_tune.progress import Progress, no_progress
from mdr_tune.words import count

logger = logging.getLogger(__name__)

SUFFIXES = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Of the files that are taken for images, in lower or upper case. Of several frames or pages, the first is read."""

_SUFFIXES_SHOWN = 5

_FolderId = tuple[int, int]  # device and inode


def open_folder(
    folder: Path, progress: Progress = no_progress, *, root: str, **opening: Unpack[Opening]
) -> OpenedDataset:
    """Return the data set of the images below `root`; see `list_folder` for the layout, `open_listing` for the rest."""
    return open_listing("folder", list_folder(Path(root)), folder, progress, **opening)


def list_folder(root: Path) -> Listing:
    """List the images below `root`, class by class.

    Either `root/CLASS/.../IMAGE`, or `root/SPLIT/CLASS/.../IMAGE` if all folders in `root` are named as splits: train,
    validation (or val), test, query, gallery. Images are told by `SUFFIXES`; other files are left out with a warning,
    what is hidden without. Links are followed. The order is that of the names' code points, folder by folder, on every
    machine.

    Raises:
        UserError: there is no such folder, it cannot be read, it has no images, or splits are mixed with other folders.
    """
    if not os.path.isdir(root):  # Path.is_dir raises where a folder above must not be entered
        raise UserError(f"data.root: there is no folder {root}")
    others: Counter[str] = Counter()
    found = [class_folder for part in _parts(root) for class_folder in _class_folders(root, part, others)]
    _warn_of_others(root, others)
    paths = tuple(path for class_folder in found for path in class_folder.paths)
    if not paths:
        raise UserError(
            f"data.root: no images in class folders of {root}: expected CLASS/IMAGE or train/CLASS/IMAGE in it, with "
            f"images' names ending in {', '.join(SUFFIXES)}"
        )
    _check_names(paths)
    if empty := [f"{item.part.folder}{item.name}" for item in found if not item.paths]:
        logger.warning("%s: no images in %s, such as %s", root, count(len(empty), "class folder"), examples(empty))
        found = [item for item in found if item.paths]
    names = sorted({item.name for item in found})
    sizes = [len(item.paths) for item in found]
    return Listing(
        root=root,
        paths=paths,
        class_ids=np.repeat(np.searchsorted(names, [item.name for item in found]), sizes),
        class_names=tuple(names),
        splits=np.repeat(np.array([item.part.split for item in found], dtype=np.int8), sizes),
        roles=np.repeat(np.array([item.part.role for item in found], dtype=np.int8), sizes),
    )


class _Part(NamedTuple):
    """A folder of class folders."""

    folder: str  # relative to the root: "", or "train/" and the like
    split: int
    role: int


class _ClassFolder(NamedTuple):
    part: _Part
    name: str
    paths: list[str]  # relative to the root


def _parts(root: Path) -> list[_Part]:
    """Return the folders in which class folders are: the root itself, or the splits in it."""
    names = [entry.name for entry in _visible(root) if _is_folder(entry)]
    splits = [name for name in names if name.lower() in SPLIT_WORDS]
    others = [name for name in names if name not in splits]
    if splits and not others:
        return [_Part(f"{name}/", *SPLIT_WORDS[name.lower()]) for name in splits]
    if len(splits) > 1:  # one may well be a class: trains
        raise UserError(
            f"data.root: in {root}, {examples(splits)} are named as splits, and {examples(others)} not: put class "
            "folders either all into splits or all side by side, and move other folders elsewhere"
        )
    return [_Part("", SPLIT_NAMES.index("train"), BOTH)]


def _class_folders(root: Path, part: _Part, others: Counter[str]) -> Iterator[_ClassFolder]:
    """Read the class folders of a part, in order; warn of images beside them, count `others` in them by suffix."""
    part_folder = root / part.folder
    # Not to be entered from within a class: a link that leads there would make other classes' images its own.
    above = {_identity(root), _identity(part_folder)}
    loose = []
    for entry in _visible(part_folder):
        if _is_folder(entry):
            paths = list(_images_below(entry.path, f"{part.folder}{entry.name}", above.copy(), others))
            yield _ClassFolder(part, entry.name, paths)
        elif _is_image(entry.name):
            loose.append(entry.name)
    if loose:
        images = count(len(loose), "image")
        logger.warning("%s: left out %s in no class folder, such as %s", part_folder, images, examples(loose))


def _images_below(folder: str, relative: str, seen: set[_FolderId], others: Counter[str]) -> Iterator[str]:
    """Yield `relative/...` of the images in a folder and in those below it, each folder once, in order.

    Other files are counted in `others`, by their suffix.
    A link that leads nowhere is yielded: it is a missing image.
    """
    if (identity := _identity(folder)) in seen:
        return
    seen.add(identity)
    for entry in _visible(folder):
        if _is_folder(entry):
            yield from _images_below(entry.path, f"{relative}/{entry.name}", seen, others)
        elif _is_image(entry.name):
            yield f"{relative}/{entry.name}"
        else:
            others[os.path.splitext(entry.name)[1].lower()] += 1


def _warn_of_others(root: Path, others: Counter[str]) -> None:
    """Log which files in class folders are no images by their names: photographs, perhaps, that none would miss."""
    if not others:
        return
    by_number = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{suffix or 'without a suffix'} {number}" for suffix, number in by_number[:_SUFFIXES_SHOWN])
    files = count(others.total(), "file")
    what = "that is no image by its name" if others.total() == 1 else "that are no images by their name"
    more = ", ..." if len(others) > _SUFFIXES_SHOWN else ""
    logger.warning("%s: left out %s %s: %s%s", root, files, what, shown, more)


def _visible(folder: str | Path) -> list["os.DirEntry[str]"]:
    """Return what is in a folder, by name, without what macOS and others hide there."""
    with _reading(folder), os.scandir(folder) as entries:
        shown = [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"]
    return sorted(shown, key=lambda entry: entry.name)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    # Not entry.is_dir() alone: it raises on a link that leads to itself.
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _identity(folder: str | Path) -> _FolderId:
    with _reading(folder):
        status = os.stat(folder)
    return status.st_dev, status.st_ino


@contextmanager
def _reading(folder: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"data.root: cannot read the folder {folder} ({error.strerror})") from error


def _check_names(paths: tuple[str, ...]) -> None:
    """Names of files are bytes to the system, and text to the cache."""
    try:
        "".join(paths).encode()
    except UnicodeEncodeError:
        undecodable = [path for path in paths if path != path.encode(errors="replace").decode()]
        raise UserError(
            f"data.root: not UTF-8: the names of {count(len(undecodable), 'image')}, such as {examples(undecodable)}; "
            "rename them"
        ) from None
