"""List the images below a folder, and derive their classes from the names of the folders they are in."""

import os
from collections.abc import Sequence
from pathlib import Path

from mdr_tune.data.own.class_names import class_name
from mdr_tune.data.own.folder import SUFFIXES
from mdr_tune.data.own.split_words import SPLIT_WORDS, split_word
from mdr_tune.data.own.system_files import is_hidden, is_kept_by_a_system, warn_of_system_files
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import not_utf_8


def list_images(folder: Path) -> list[str]:
    """Return the paths of all images below `folder`, relative to it and with forward slashes.

    Images are files with a suffix in `mdr_tune.data.own.folder.SUFFIXES`. Hidden files and folders are left out. Files
    and folders that systems make for their own use, such as `@eaDir`, are left out with a warning. Links are followed,
    and each folder is read once. The order is the same on every machine: first a folder's own images by the code points
    of their names, then the images of each of its folders in the same way.

    Raises:
        UserError: The folder does not exist, is a file, cannot be read, has no images, or has names that are not UTF-8.
    """
    if not os.path.isdir(folder):
        if os.path.exists(folder):
            raise UserError(f"{folder} is a file: give the folder that it is in")
        raise UserError(f"there is no folder {folder}")
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    system_files: list[str] = []
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_cannot_list):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:  # reached before, by another link
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        visible = {name for name in (*folders, *files) if not is_hidden(name)}
        kept_by_systems = set(filter(is_kept_by_a_system, visible))
        system_files += [os.path.join(parent, name) for name in kept_by_systems]
        folders[:] = sorted(visible.intersection(folders) - kept_by_systems)
        images = sorted(name for name in visible.intersection(files) - kept_by_systems if _is_image(name))
        below = os.path.relpath(parent, folder)
        found += images if below == "." else [f"{below}/{name}" for name in images]
    warn_of_system_files(folder, system_files)
    if not found:
        raise UserError(f"no images below {folder}: expected names ending in {', '.join(SUFFIXES)}")
    if problem := not_utf_8(*found):
        raise UserError(f"{folder}: {problem}")
    return found


def class_labels(paths: Sequence[str]) -> list[str | None]:
    """Return the class of each image in `paths` by the rules of `data: {name: folder}` in a sweep file.

    The class is the name of the first folder in the path, or of the second folder if all first folders are named after
    splits (train, test, ...). Names that look the same are one class. The class is None if there is no such folder.
    """
    folders = [path.split("/")[:-1] for path in paths]
    firsts = {parts[0] if parts else "" for parts in folders}
    depth = 1 if all(split_word(first) in SPLIT_WORDS for first in firsts) else 0
    return [class_name(parts[depth]) if len(parts) > depth else None for parts in folders]


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _cannot_list(error: OSError) -> None:
    raise UserError(f"cannot read the folder {error.filename} ({error.strerror})") from error
