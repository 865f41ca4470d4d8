"""List a user's own images in folders: a folder for each class, or a folder for each split with class folders in it."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Unpack

import numpy as np

from mdr_tune.data.dataset import SPLIT_NAMES
from mdr_tune.data.listings.listing import BOTH, Listing
from mdr_tune.data.listings.listing_checks import FEWEST_CLASSES, NUM_EXAMPLES, examples
from mdr_tune.data.listings.open_listing import ListedDataset, Opening, draw_splits
from mdr_tune.data.own.class_names import class_name, warn_of_spellings
from mdr_tune.data.own.split_words import SPLIT_WORDS, split_word
from mdr_tune.data.own.system_files import is_hidden, is_kept_by_a_system, warn_of_system_files
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import count, not_utf_8

logger = logging.getLogger(__name__)

SUFFIXES = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Suffixes of image files, in lower or upper case. If a file has several frames or pages, the first is read."""

_SUFFIXES_SHOWN = 5
_SPLIT_FOLDERS = f"folders of splits would be named {', '.join(SPLIT_WORDS)}"

_FolderId = tuple[int, int]  # device and inode


def listed_folder(*, root: str, **opening: Unpack[Opening]) -> ListedDataset:
    """List the images below `root` (see `list_folder`), and put them into splits by `opening` (see `draw_splits`)."""
    return draw_splits("folder", list_folder(Path(root)), **opening)


def list_folder(root: Path) -> Listing:
    """List the images below `root`, class by class.

    The layout is `root/CLASS/.../IMAGE`. If all folders in `root` have names of splits (train, validation, test, query,
    gallery, or another of `SPLIT_WORDS`), the layout is `root/SPLIT/CLASS/.../IMAGE`. Class folders whose names look
    the same are one class. The entries of a folder are sorted by the code points of their names, on every machine.

    Files whose names end in one of `SUFFIXES` are images. Other files are left out with a warning, and so are the files
    and folders that systems create, such as Thumbs.db. Hidden files are left out without a warning. Links are followed.

    Raises:
        UserError: there is no such folder, it cannot be read or has no images, a name in it is not UTF-8, or several
            folders with names of splits lie beside other folders.
    """
    if not os.path.isdir(root):  # not Path.is_dir, which raises if a folder above must not be entered
        raise UserError(f"data.root: there is no folder {root}")
    left_out = _LeftOut()
    found = [item for part in _parts(root, left_out) for item in _class_folders(root, part, left_out)]
    _warn_of_others(root, left_out.others)
    warn_of_system_files(root, left_out.system_files)
    paths = tuple(path for class_folder in found for path in class_folder.paths)
    if not paths:
        loose = any(_is_image(entry.name) for entry in _visible(root, left_out))
        low = f". Images lie in {root} itself: if it is a class folder, set data.root to the one above" if loose else ""
        raise UserError(
            f"data.root: no images in class folders of {root}: expected CLASS/IMAGE or train/CLASS/IMAGE in it, with "
            f"images' names ending in {', '.join(SUFFIXES)}{low}"
        )
    if problem := not_utf_8(*paths):  # file names are bytes to the system, but text in the cache
        raise UserError(f"data.root: {problem}")
    if empty := [f"{item.part.folder}{item.name}" for item in found if not item.paths]:
        logger.warning("%s: no images in %s, such as %s", root, count(len(empty), "class folder"), examples(empty))
        found = [item for item in found if item.paths]
    classes = [class_name(item.name) for item in found]
    warn_of_spellings(root, zip(classes, (item.name for item in found), strict=True))
    names = sorted(set(classes))
    sizes = [len(item.paths) for item in found]
    return Listing(
        root=root,
        paths=paths,
        class_ids=np.repeat(np.searchsorted(names, classes), sizes),
        class_names=tuple(names),
        splits=np.repeat(np.array([item.part.split for item in found], dtype=np.int8), sizes),
        roles=np.repeat(np.array([item.part.role for item in found], dtype=np.int8), sizes),
        remark=_what_was_taken_for_classes(root, found),
    )


class _Part(NamedTuple):
    """A folder that holds class folders (the root or a split's folder in it), with the split and role of its images."""

    folder: str  # path relative to the root: "", or such as "train/"
    split: int
    role: int


class _ClassFolder(NamedTuple):
    part: _Part
    name: str
    paths: list[str]  # of its images, relative to the root


def _what_was_taken_for_classes(root: Path, found: list[_ClassFolder]) -> str:
    """Return the listing's `remark`: which folders in `root` were taken for classes, and what may be wrong with them.

    For example, `root` may be one level too high, or the class folders `found` may have folders of splits in them. If
    there are still enough classes for a search, no error will show the remark, so a warning is logged.
    """
    names = [f"{item.part.folder}{item.name}" for item in found]
    below = [(name, path[len(name) + 1 :]) for name, item in zip(names, found, strict=True) for path in item.paths]
    taken = f"Taken for classes in {root}: {examples(names)}{', ...' if len(names) > NUM_EXAMPLES else ''}"
    if some := [name for name in names if split_word(name) in SPLIT_WORDS]:
        others = [name for name in names if name not in some]
        return f"{taken}; {examples(some)} would be a split's, but {examples(others)} would not; {_SPLIT_FOLDERS}"
    inner = sorted({f"{name}/{path.partition('/')[0]}" for name, path in below if "/" in path})
    if inner and all(split_word(folder.rpartition("/")[2]) in SPLIT_WORDS for folder in inner):
        turned = (
            f"in them are folders named as splits, {examples(inner)}, whose images are all taken for training images: "
            f"a split's folder is to be above its classes, train/CLASS/IMAGE; move them so, or list the images in a "
            "table with data.split_column"
        )
        if len(names) >= FEWEST_CLASSES:
            logger.warning("%s; %s", taken, turned)
        return f"{taken}; {turned}"
    if sum("/" not in path for _, path in below) >= len(inner):  # a few may lie beside folders of classes
        return f"{taken}; {_SPLIT_FOLDERS}"
    right_root = root / _folder_of_folders(found[0].paths) if len(names) == 1 else "the folder that they are in"
    level = (
        f"their images lie in folders within them, such as {examples(inner)}: if those are the classes, root is one "
        f"level too high (set data.root to {right_root})"
    )
    if len(names) >= FEWEST_CLASSES and len(inner) >= 2 * len(names):
        logger.warning("%s; %s", taken, level)
    return f"{taken}; {level}; {_SPLIT_FOLDERS}"


def _folder_of_folders(paths: list[str]) -> str:
    """Return the deepest folder above all class folders of the images `paths`: the likely `data.root`.

    A class folder has images, and no folder below it has any.
    """
    folders = {os.path.dirname(path) for path in paths}
    above = {str(parent) for folder in folders for parent in PurePosixPath(folder).parents}
    return os.path.commonpath({os.path.dirname(folder) for folder in folders - above})


@dataclass(frozen=True)
class _LeftOut:
    """Files that are left out: paths of `system_files`, and the number of all `others`, by suffix."""

    others: Counter[str] = field(default_factory=Counter)
    system_files: set[str] = field(default_factory=set)


def _parts(root: Path, left_out: _LeftOut) -> list[_Part]:
    """Return the folders that hold class folders: `root` itself, or the folders of splits in it.

    System files are added to `left_out`. It is a UserError if several folders of splits lie beside other folders.
    """
    names = [entry.name for entry in _visible(root, left_out) if _is_folder(entry)]
    splits = [name for name in names if split_word(name) in SPLIT_WORDS]
    others = [name for name in names if name not in splits]
    if splits and not others:
        return [_Part(f"{name}/", *SPLIT_WORDS[split_word(name)]) for name in splits]
    if len(splits) > 1:  # a single one may well be a class, such as trains
        raise UserError(
            f"data.root: in {root}, {examples(splits)} are named as splits, and {examples(others)} not: put class "
            "folders either all into splits or all side by side, and move other folders elsewhere"
        )
    return [_Part("", SPLIT_NAMES.index("train"), BOTH)]


def _class_folders(root: Path, part: _Part, left_out: _LeftOut) -> Iterator[_ClassFolder]:
    """Yield the class folders of `part`, sorted by name.

    Images beside the class folders are left out with a warning. Other files in class folders are counted in `left_out`.
    """
    part_folder = root / part.folder
    # Folders that are never entered from within a class folder: through a link to one of them, the class would get the
    # images of other classes.
    above = {_identity(root), _identity(part_folder)}
    loose = []
    for entry in _visible(part_folder, left_out):
        if _is_folder(entry):
            paths = list(_images_below(entry.path, f"{part.folder}{entry.name}", above.copy(), left_out))
            yield _ClassFolder(part, entry.name, paths)
        elif _is_image(entry.name):
            loose.append(entry.name)
    if loose:
        images = count(len(loose), "image")
        logger.warning("%s: left out %s in no class folder, such as %s", part_folder, images, examples(loose))


def _images_below(folder: str, relative: str, seen: set[_FolderId], left_out: _LeftOut) -> Iterator[str]:
    """Yield the paths of the images in `folder` and in the folders below it, sorted. Each path begins with `relative`.

    A folder in `seen` is not read, and each folder that is read is added to `seen`. So no folder is read twice, even if
    a link leads to it. Files that are not images are counted in `left_out`. A broken link with the suffix of an image
    is yielded too, so that a later check reports a missing image.
    """
    if (identity := _identity(folder)) in seen:
        return
    seen.add(identity)
    for entry in _visible(folder, left_out):
        if _is_folder(entry):
            yield from _images_below(entry.path, f"{relative}/{entry.name}", seen, left_out)
        elif _is_image(entry.name):
            yield f"{relative}/{entry.name}"
        else:
            left_out.others[os.path.splitext(entry.name)[1].lower()] += 1


def _warn_of_others(root: Path, others: Counter[str]) -> None:
    """Log a warning about files below `root` that were left out for their suffix, because they may be images after all.

    `others` has the number of files of each suffix.
    """
    if not others:
        return
    by_number = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{suffix or 'without a suffix'} {number}" for suffix, number in by_number[:_SUFFIXES_SHOWN])
    files = count(others.total(), "file")
    what = "that is no image by its name" if others.total() == 1 else "that are no images by their name"
    more = ", ..." if len(others) > _SUFFIXES_SHOWN else ""
    logger.warning("%s: left out %s %s: %s%s", root, files, what, shown, more)


def _visible(folder: str | Path, left_out: _LeftOut) -> list["os.DirEntry[str]"]:
    """Return the entries of `folder`, sorted by name, without hidden entries and without system files.

    The paths of system files are added to `left_out`.
    """
    with _reading(folder), os.scandir(folder) as entries:
        shown = [entry for entry in entries if not is_hidden(entry.name)]
    left_out.system_files.update(entry.path for entry in shown if is_kept_by_a_system(entry.name))
    return sorted((entry for entry in shown if not is_kept_by_a_system(entry.name)), key=lambda entry: entry.name)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    # Not entry.is_dir() alone, which raises on a link that leads to itself.
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
