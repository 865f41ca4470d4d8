"""The user's own modules that a sweep has imported: a hash of their content, and a copy that is sent to the workers."""

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mdr_tune.util.cache_folder import cache_dir, locked
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import look_for_code_in, own_places

LARGEST_MIB = 20
"""Largest size of the copy. Weights belong into a file of their own, which `backbone.weights` names."""
_LEFT_OUT = ("__pycache__", ".git")


@dataclass(frozen=True)
class UserCode:
    """A copy of the user's own modules.

    Attributes:
        folder: folder from which the modules were imported.
        files: first 16 hexadecimal digits of each file's SHA-256, by the file's path relative to the folder.
        archive: content of a zip file with these files.
    """

    folder: str
    files: Mapping[str, str]
    archive: bytes = field(repr=False)

    @property
    def content(self) -> str:
        """Hash of the names and the content of all files."""
        return content_of(self.files)

    def describe(self) -> dict[str, Any]:
        """Return the folder, the hash of all files, and the hash of each file, as JSON values for records."""
        return {"folder": self.folder, "content": self.content, "files": dict(self.files)}


def content_of(files: Mapping[str, str]) -> str:
    """Return a hash of all `files` together. `files` has the hash of each file by its name."""
    return hashlib.sha256("\n".join(f"{files[name]} {name}" for name in sorted(files)).encode()).hexdigest()[:16]


def imported_code() -> UserCode | None:
    """Return a copy of the user's modules that this process has imported; None if it has imported none.

    A package is copied as a whole, with its data files. A module outside of packages is copied alone. User's modules
    that these import inside of functions are copied, too.

    Raises:
        UserError: The modules lie in two folders, or the copy would be too large.
    """
    folder, files = _imported_files()
    if folder is None:
        return None
    contents = {name: file.read_bytes() for name, file in files.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # without the time, so that equal files are equal bytes
    return UserCode(str(folder), {name: _digest(content) for name, content in contents.items()}, buffer.getvalue())


def imported_hashes() -> dict[str, str]:
    """Return the hash of each file that `imported_code` would copy, by name; empty if it would copy none."""
    return {name: _digest(file.read_bytes()) for name, file in _imported_files()[1].items()}


def _imported_files() -> tuple[Path | None, dict[str, Path]]:
    """Return the folder of the user's modules that were imported, and their files by name; None if there are none."""
    places = own_places()
    if not places:
        return None, {}
    folders = sorted({place.parent for place in places})
    if len(folders) > 1:
        raise UserError(
            f"code: {places[0]} and {places[-1]} are in two folders: put your modules into one, and name it: code: DIR"
        )
    files = {str(file.relative_to(folders[0])): file for place in places for file in _files_of(place)}
    _check_size(files)
    return folders[0], dict(sorted(files.items()))


def _files_of(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        yield from (Path(folder, name) for name in sorted(names) if not name.endswith(".pyc"))


def _check_size(files: Mapping[str, Path]) -> None:
    size = sum(file.stat().st_size for file in files.values())
    if size > LARGEST_MIB * 2**20:
        largest = max(files.values(), key=lambda file: file.stat().st_size)
        raise UserError(
            f"code: your modules have {size / 2**20:.0f} MiB, and up to {LARGEST_MIB} travel to the workers: move "
            f"{largest} out of the package; weights are given by backbone.weights: FILE"
        )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def use_code(code: UserCode | None) -> None:
    """Let this worker process import the user's modules in `code`. `code` is None if the sweep has no such modules.

    The modules are imported from their folder if they are unchanged there. Otherwise, on another node or after a
    change, they are unpacked into the cache folder.
    """
    if code is None:
        look_for_code_in([])
        return
    folder = Path(code.folder)
    look_for_code_in([folder if _is_there(folder, code.files) else _unpacked(code)])


def _is_there(folder: Path, files: Mapping[str, str]) -> bool:
    try:
        return all(_digest((folder / name).read_bytes()) == digest for name, digest in files.items())
    except OSError:
        return False


def _unpacked(code: UserCode) -> Path:
    folder = cache_dir() / "code" / code.content
    folder.parent.mkdir(exist_ok=True)
    with locked(folder):
        if not _is_there(folder, code.files):
            shutil.rmtree(folder, ignore_errors=True)
            temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
            with zipfile.ZipFile(io.BytesIO(code.archive)) as archive:
                archive.extractall(temporary)
            temporary.rename(folder)
    return folder


def changed_files(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of the files that differ between `then` and `now`, sorted. Both have files' hashes by name."""
    return sorted(name for name in {**then, **now} if then.get(name) != now.get(name))
