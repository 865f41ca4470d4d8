"""Get a published data set into a folder: find or download its archives, check them, and unpack them."""

import os
from pathlib import Path

from mdr_tune.data.published.benchmark import Archive, Benchmark
from mdr_tune.data.published.unpack import unpack
from mdr_tune.util.cache_folder import locked
from mdr_tune.util.disk_space import format_bytes
from mdr_tune.util.download import Digest, DownloadError, digest_of, download
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress


def fetch(benchmark: Benchmark, root: Path, progress: Progress) -> None:
    """Get all archives of `benchmark` into `root` and unpack them. Archives that are already unpacked are left alone.

    An archive that is already in `root` is used. If it is not there, it is downloaded to `root`, which is created if
    necessary. The archive is checked against its MD5, if that is known, unpacked into the folder that it lies in, and
    kept. Meanwhile, `progress` is called. If several processes call this at once, one works and the others wait.

    Raises:
        UserError: a file cannot be downloaded (the message says which files to put where), a file is damaged, an
            incomplete copy is in the way, or the disk has no room.
    """
    root = Path(os.path.expanduser(root))
    try:
        root.mkdir(parents=True, exist_ok=True)
        if missing := _missing(benchmark, root):
            with locked(root / f".{benchmark.name}"):
                _only_by_hand(benchmark, root)
                for archive in missing:
                    if not is_unpacked(benchmark, root, archive):  # another process may have done it meanwhile
                        _fetch_one(benchmark, root, archive, progress)
    except OSError as error:
        raise UserError(f"data.root: cannot write to {root}: {error}") from None


def is_unpacked(benchmark: Benchmark, root: Path, archive: Archive) -> bool:
    """Return whether `archive` has been unpacked: a path of `archive.makes` exists in a home of `benchmark` in `root`.

    An empty folder does not count. A path that is itself a home counts only if `archive.makes` has no other path.
    """
    made = [name for name in archive.makes if name not in benchmark.homes] or archive.makes
    return any(_is_there(root / home / name) for home in benchmark.homes for name in made)


def _is_there(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()


def _refuse_incomplete(benchmark: Benchmark, archive: Archive, target: Path) -> None:
    """Raise a UserError if `target`, the path to which `archive` is to be unpacked, exists and is not an empty folder.

    The caller has found that `archive` was not unpacked completely, so such a folder is an incomplete copy of
    `benchmark`.
    """
    if archive.is_packed and _is_there(target):
        lists = " or ".join(name for name in archive.makes if name not in benchmark.homes)
        raise UserError(
            f"data.root: {target} is an incomplete copy of {benchmark.title}, without {lists}: delete this folder, "
            "and start again"
        )


def _missing(benchmark: Benchmark, root: Path) -> list[Archive]:
    return [archive for archive in benchmark.archives if not is_unpacked(benchmark, root, archive)]


def _packed_file(benchmark: Benchmark, root: Path, archive: Archive) -> Path | None:
    """Return the path of the file `archive` (not unpacked) in `root`; None if the file is not there."""
    places = (root / home / folder / archive.name for home in benchmark.homes for folder in archive.lies_in)
    return next((path for path in places if path.is_file()), None)


def _only_by_hand(benchmark: Benchmark, root: Path) -> None:
    """Raise a UserError if `root` lacks files of `benchmark` that have no URL, so that a user has to get them."""
    absent = [
        archive
        for archive in _missing(benchmark, root)
        if not archive.urls and _packed_file(benchmark, root, archive) is None
    ]
    if absent:
        raise UserError(f"{benchmark.title} is not complete in {root}. {_by_hand(benchmark, root, absent)}")


def _fetch_one(benchmark: Benchmark, root: Path, archive: Archive, progress: Progress) -> None:
    path = _packed_file(benchmark, root, archive)
    _refuse_incomplete(benchmark, archive, (path or root / archive.name).with_name(archive.makes[0]))
    if path is None:
        path = root / archive.name
        assert archive.md5 is not None, archive
        try:
            download(archive.urls, path, Digest("md5", archive.md5), progress, archive.size_bytes)
        except DownloadError as error:
            absent = [other for other in _missing(benchmark, root) if _packed_file(benchmark, root, other) is None]
            raise UserError(
                f"cannot download {archive.name} of {benchmark.title}: {error}. {_by_hand(benchmark, root, absent)}"
            ) from None
    elif archive.md5 is not None and (found := digest_of(path, "md5", progress)) != archive.md5:
        raise UserError(
            f"{path} is damaged or another file: its MD5 is {found}, expected {archive.md5}. Delete it and start "
            "again: it is then downloaded, or get it anew yourself"
        )
    if archive.is_packed:
        unpack(path, archive.makes[0], progress)


def _by_hand(benchmark: Benchmark, root: Path, absent: list[Archive]) -> str:
    """Return sentences that tell a user to get the files `absent` of `benchmark` and to put them into `root`."""
    files = []
    for archive in absent:
        size = "" if archive.size_bytes is None else f"{format_bytes(archive.size_bytes)}, "
        md5 = "" if archive.md5 is None else f"MD5 {archive.md5}, "
        source = " or ".join(archive.urls)
        details = f"{size}{md5}{source}".rstrip(", ")
        files.append(f"{root / archive.name}" + (f" ({details})" if details else ""))
    return (
        f"Get {'this file' if len(files) == 1 else 'these files'} on a machine that can, put "
        f"{'it' if len(files) == 1 else 'them'} there, and start again: {', '.join(files)}. {benchmark.by_hand}"
    )
