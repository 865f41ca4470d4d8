"""Check the paths in a table: refuse text that is not a path, and find files whose names are spelled differently."""

import os
import posixpath
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mdr_tune.data.listings.listing_checks import examples
from mdr_tune.data.own.system_files import IN_PATH, warn_of_system_files
from mdr_tune.data.own.table_file import TableFile
from mdr_tune.util.text_forms import INVISIBLE, NamesOnDisk
from mdr_tune.util.words import count

# Matches paths that have other spellings: absolute paths, and paths with an empty segment, "." or "..".
_OTHER_SPELLINGS = r"^/|//|(^|/)\.\.?(/|$)"


class _NoPath(NamedTuple):
    """A kind of text that is likely not a path, found by the regular expression `pattern`.

    Attributes:
        have: what is wrong with such rows, in words that follow "3 of 10 rows", such as "have no path".
        remedy: what the user should do.
    """

    pattern: str
    have: str
    remedy: str


_NO_PATHS = (
    _NoPath(
        "^[A-Za-z][A-Za-z0-9+.-]+://",
        "have an address instead of a path",
        "download the images, and list the files that they became",
    ),
    _NoPath("^~", "begin with ~, which only a shell takes for a home folder", f"write it out, such as {Path.home()}"),
    _NoPath(
        r"^[A-Za-z]:[\\/]",
        "begin with a drive, as on Windows",
        "write paths relative to data.root, with slashes: a/b.jpg",
    ),
    _NoPath(r"\\", "are written with backslashes, as on Windows", "write slashes: a/b.jpg"),
    _NoPath(
        r"^\$\{?[A-Za-z_]\w*\}?/|^%\w+%",
        "begin with a variable, which only a shell replaces",
        "write out what it stands for",
    ),
    _NoPath(r"^\s|\s$|^\p{Z}|\p{Z}$", "begin or end with a blank", "remove it"),
    _NoPath(INVISIBLE, "have characters that are not seen", "remove them"),
)


def listed_paths(table: TableFile, root: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the paths of all rows of `table` as the disk spells them, and a mask of the rows to use, (n,) bool.

    Rows that list system files, such as Thumbs.db, are not used. Paths are relative to `root`, or absolute. Paths with
    `..` are not shortened, because after a link, `..` leads to another folder than the text suggests.

    Raises:
        UserError: a row has no path or has text that is likely not a path, or several rows list the same file.
    """
    paths = table.text("path_column")
    if (missing := table.is_missing(paths)).any():
        raise table.wrong("path_column", missing, "have no path")
    for mistake in _NO_PATHS:
        _refuse(table, paths, root, mistake)
    paths = _as_on_disk(paths, root)
    files = _normalised(paths, root)
    _refuse_repeated(table, files)
    in_system_folders = np.asarray(pc.match_substring_regex(files, IN_PATH).to_numpy(zero_copy_only=False))
    left_out = files.filter(pa.array(in_system_folders)).to_pylist()
    warn_of_system_files(table.file, [re.search(IN_PATH, path)[2] for path in left_out])  # type: ignore[index]
    return tuple(paths.to_pylist()), ~in_system_folders


def _refuse(table: TableFile, paths: pa.Array, root: Path, mistake: _NoPath) -> None:
    """Raise a UserError if one of `paths` matches the pattern of `mistake` and is no file or folder below `root`."""
    matches = np.flatnonzero(pc.match_substring_regex(paths, mistake.pattern).to_numpy(zero_copy_only=False))
    wrong = np.zeros(len(paths), dtype=bool)
    for row in matches:
        wrong[row] = not os.path.lexists(os.path.join(root, paths[row].as_py()))
    if wrong.any():
        some = examples(paths.filter(pa.array(wrong)).slice(0, 1).to_pylist())
        raise table.wrong("path_column", wrong, f"{mistake.have}, such as {some}: {mistake.remedy}")


def _as_on_disk(paths: pa.Array, root: Path) -> pa.Array:
    """Return `paths` in the Unicode form of the names below `root`, because tables may be from another system."""
    several_forms = pc.invert(pc.string_is_ascii(paths))
    names = NamesOnDisk(root, lambda name: unicodedata.normalize("NFC", name))
    found = [names.find(path) or path for path in paths.filter(several_forms).to_pylist()]
    return pc.replace_with_mask(paths, several_forms, pa.array(found, paths.type))


def _refuse_repeated(table: TableFile, files: pa.Array) -> None:
    encoded = files.dictionary_encode()
    codes = encoded.indices.to_numpy()
    if len(encoded.dictionary) == len(codes):
        return
    repeated = np.bincount(codes)[codes] > 1
    some = dict.fromkeys(files.filter(pa.array(repeated)).to_pylist())
    raise table.wrong(
        "path_column", repeated, f"share {count(len(some), 'path')}, such as {examples(some)}; list each image once"
    )


def _normalised(paths: pa.Array, root: Path) -> pa.Array:
    """Return `paths`, (n,) text, in a form that all spellings of a path share.

    The result is relative to `root` if the file is below `root`, and absolute otherwise.
    """
    several = pc.match_substring_regex(paths, _OTHER_SPELLINGS)
    above = os.path.abspath(root).rstrip("/") + "/"

    def normalise(path: str) -> str:
        absolute = "/" + posixpath.normpath(posixpath.join(above, path)).lstrip("/")  # normpath keeps a leading //
        return absolute.removeprefix(above)

    normalised = [normalise(path) for path in paths.filter(several).to_pylist()]
    return pc.replace_with_mask(paths, several, pa.array(normalised, paths.type))
