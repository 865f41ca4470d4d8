"""Identify the content of a data set's files by a hash, without reading the files again at each start."""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mdr_tune.data.images.thread_map import PacedProgress, thread_map
from mdr_tune.util.cache_folder import locked
from mdr_tune.util.cpus import usable_cpus
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import atomic_write
from mdr_tune.util.progress import Progress
from mdr_tune.util.text_forms import NamesOnDisk, one_form
from mdr_tune.util.words import escaped

_VERSION = 1  # raise it whenever the hashed data changes
_EXAMPLES = 3
_THREADS = max(16, usable_cpus())  # the threads wait for disk or network more than they compute
_STATS_A_TASK, _HASHES_A_TASK = 1024, 32  # a task costs about as much as ten stats of a local file


class FileState(NamedTuple):
    """Size and times of a file, which change whenever its content does.

    Programs that copy files may reset the modification time, but not the change time.
    """

    size: int
    modified_ns: int
    changed_ns: int


class _Failure(NamedTuple):
    path: str
    reason: str | None  # None if there is no such file


def file_states(root: Path, paths: Sequence[str]) -> list[FileState]:
    """Return the size and times of each file of `paths`, which are relative to `root`, or absolute.

    Raises:
        UserError: `root` is not a folder, or files are missing. The message counts the missing files and names a few.
    """
    if not os.path.isdir(root):
        raise UserError(f"data.root: there is no folder {root}")
    chunks = _chunks(paths, _STATS_A_TASK)
    with thread_map(partial(_states, str(root)), chunks, threads=_THREADS) as parts:
        found = [state for part in parts for state in part]
    missing = [entry for entry in found if isinstance(entry, _Failure)]
    if missing:
        shown = _examples(_with_similar_names(root, missing[:_EXAMPLES]))
        raise UserError(
            f"data.root: {_share(len(missing), len(paths))} missing in {root}, such as {shown}; "
            "copy or unpack the data set again, or set data.root to the folder that holds all of it"
        )
    return [entry for entry in found if isinstance(entry, FileState)]


def remembered_key(root: Path, paths: Sequence[str], folder: Path) -> str | None:
    """Return the key that `content_key` has stored in `folder` for `paths` below `root`; None if it has not stored one.

    Errors are those of `file_states`.
    """
    return _remembered(_memory(root, paths, folder))


def content_key(root: Path, paths: Sequence[str], folder: Path, progress: Progress) -> str:
    """Return a key for `paths` below `root`: a hexadecimal hash of the paths, in order, and of the files' content.

    Under another `root`, the same files have the same key. To compute the key, all files are read, and `progress` is
    called meanwhile. The key is then stored in a small file in `folder`, which must exist. Later calls return the
    stored key without reading the files, as long as the paths, sizes and times of all files stay the same. If several
    processes call this at once, one computes the key and the others wait.

    Raises:
        UserError: for the reasons of `file_states`, or some files cannot be read.
    """
    memory = _memory(root, paths, folder)
    if key := _remembered(memory):
        return key
    with locked(memory):
        if key := _remembered(memory):
            return key
        key = _hash_contents(root, paths, progress)
        with atomic_write(memory) as file:
            file.write(json.dumps({"content": key}).encode())
    return key


def file_hashes(
    root: Path,
    paths: Sequence[str],
    num_bytes: int | None = None,
    advance: Callable[[int], None] = lambda number: None,
) -> Iterator[bytes]:
    """Yield a hash of the content of each file of `paths`, which are relative to `root`.

    Only `num_bytes` bytes from the middle of each file are read, or the whole file if `num_bytes` is None. `advance` is
    called with the number of files that have been read since the last call.

    Raises:
        UserError: some files cannot be read. The error is raised after the hashes of all other files.
    """
    failures: list[_Failure] = []
    read = partial(_hashes, str(root), num_bytes)
    with thread_map(read, _chunks(paths, _HASHES_A_TASK), threads=_THREADS) as parts:
        for part in parts:
            for entry in part:
                if isinstance(entry, _Failure):
                    failures.append(entry)
                else:
                    yield entry
            advance(len(part))
    if failures:
        raise UserError(
            f"data.root: the system cannot read {len(failures):,} of {len(paths):,} files in {root}, such as "
            f"{_examples(failures)}; make them readable for this user, and try again"
        )


def _hash_contents(root: Path, paths: Sequence[str], progress: Progress) -> str:
    digest = hashlib.blake2b(digest_size=16)
    paced = PacedProgress(progress, "reading image files", len(paths))
    for entry in file_hashes(root, paths, advance=paced.advance):
        digest.update(entry)
    digest.update(hashlib.blake2b(b"\0".join(os.fsencode(path) for path in paths)).digest())
    return digest.hexdigest()


def _states(root: str, paths: Sequence[str]) -> list[FileState | _Failure]:
    entries: list[FileState | _Failure] = []
    for path in paths:
        try:
            found = os.stat(os.path.join(root, path))
        except OSError as error:
            there_is_none = isinstance(error, FileNotFoundError | NotADirectoryError)
            reason = _where_it_leads(os.path.join(root, path)) if there_is_none else _system_reason(error)
            entries.append(_Failure(path, reason))
            continue
        if stat.S_ISREG(found.st_mode):
            entries.append(FileState(found.st_size, found.st_mtime_ns, found.st_ctime_ns))
        else:
            entries.append(_Failure(path, "not a file"))
    return entries


def _hashes(root: str, num_bytes: int | None, paths: Sequence[str]) -> list[bytes | _Failure]:
    entries: list[bytes | _Failure] = []
    for path in paths:
        try:
            with open(os.path.join(root, path), "rb") as file:
                if num_bytes is not None:
                    file.seek(max(0, (os.fstat(file.fileno()).st_size - num_bytes) // 2))
                entries.append(hashlib.blake2b(file.read(num_bytes), digest_size=16).digest())
        except OSError as error:
            entries.append(_Failure(path, _system_reason(error)))
    return entries


def _memory(root: Path, paths: Sequence[str], folder: Path) -> Path:
    return folder / f"content-{_state_key(root, paths, file_states(root, paths))}.json"


def _state_key(root: Path, paths: Sequence[str], states: Sequence[FileState]) -> str:
    lines = [f"{size} {modified} {changed}" for size, modified, changed in states]
    digest = hashlib.blake2b(f"{_VERSION}\0".encode(), digest_size=16)
    digest.update(os.fsencode(os.path.realpath(root)) + b"\0")
    digest.update(b"\0".join(os.fsencode(path) for path in paths) + b"\0\0" + "\n".join(lines).encode())
    return digest.hexdigest()


def _remembered(memory: Path) -> str | None:
    try:
        remembered = json.loads(memory.read_bytes())
        return str(remembered["content"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):  # a damaged file: the content is hashed again, and the file written again
        return None


def _chunks(paths: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (paths[start : start + size] for start in range(0, len(paths), size))


def _where_it_leads(file: str) -> str | None:
    """Return text for a message that says where the broken link `file` leads; None if `file` is not a link."""
    try:
        target = os.readlink(file)
    except OSError:
        return None
    return f"a link to {escaped(target)}, which is not there: copy what it stood for, or make that place reachable"


def _with_similar_names(root: Path, missing: Sequence[_Failure]) -> list[_Failure]:
    """Return `missing`. A file that `root` has under a similar name (other case, invisible characters) gets a hint."""
    names = NamesOnDisk(root, lambda name: one_form(name).casefold())
    found = [names.find(failure.path) if failure.reason is None else None for failure in missing]
    return [
        failure if name is None else failure._replace(reason=f"there is {name!r}: write it so")
        for failure, name in zip(missing, found, strict=True)
    ]


def _share(part: int, total: int) -> str:
    return f"{part:,} of {total:,} images {'is' if part == 1 else 'are'}"


def _examples(failures: Sequence[_Failure]) -> str:
    return ", ".join(path if reason is None else f"{path} ({reason})" for path, reason in failures[:_EXAMPLES])


def _system_reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
