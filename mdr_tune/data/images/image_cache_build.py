"""Find, build or rebuild the cache file of a data set's decoded images. All processes of a node map it into memory."""

import errno
import glob
import hashlib
import logging
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from mdr_tune.data.images.abandoned import abandoned_sizes, is_locked, remove_abandoned
from mdr_tune.data.images.checking import decoder_versions
from mdr_tune.data.images.corrupt import Corrupt, finding, refuse_corrupt
from mdr_tune.data.images.decoding import CorruptImageError, Interpolation, decode
from mdr_tune.data.images.fingerprint import content_key, remembered_key
from mdr_tune.data.images.image_cache import (
    FOLDER,
    FORMAT,
    CacheFile,
    DamagedCacheError,
    Metadata,
    as_text,
    image_bytes,
    rows_per_batch,
)
from mdr_tune.data.images.thread_map import PacedProgress, thread_map
from mdr_tune.util.cache_folder import locked
from mdr_tune.util.disk_space import format_bytes
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import atomic_write, existing_folder
from mdr_tune.util.progress import Progress

logger = logging.getLogger(__name__)

_ROW_BYTES = 200  # generous estimate of the bytes for a path, a checksum and Arrow's own data


def open_cache(
    name: str,
    root: Path,
    paths: Sequence[str],
    folder: Path,
    progress: Progress,
    *,
    size: int,
    corrupt: Corrupt,
    interpolation: Interpolation = "lanczos",
) -> CacheFile:
    """Open the cache of a data set's decoded images. The cache is built first if there is none, or if it is damaged.

    The cache has one row for each of `paths`, with an image (size, size, 3). The name of its file contains a hash of
    everything that it depends on: paths and content of the image files, `size`, `interpolation`, and versions of the
    decoders. If several processes call this at once, one builds and the others wait. A killed process leaves no
    incomplete cache.

    Args:
        name: name of the data set, for the name of the cache file and for messages.
        root: folder that `paths` are relative to.
        paths: paths of the image files.
        folder: the cache folder.
        progress: called with the number of files read so far, and then with the number of files decoded so far.
        size: height and width of the decoded images in pixels.
        corrupt: what to do about images that cannot be decoded: raise an error ("refuse") or log a warning ("skip").
        interpolation: filter by which the images are resized.

    Raises:
        UserError: files are missing or cannot be read; images are corrupt, and `corrupt` is "refuse"; no image can be
            decoded; or the disk is too small, full, or fails.
    """
    folder = folder / FOLDER
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        content = _content(name, root, paths, folder, progress, size)
        metadata, path = _named(folder, name, content, size, len(paths), interpolation)
        with locked(path):
            file = _valid(path, metadata, paths)
            if file is None:
                remove_abandoned(folder, held=path)
                _check_space(folder, name, size, len(paths))
                _build(path, metadata, root, paths, progress, corrupt)
                file = CacheFile(path)
    return _checked(file, len(paths), corrupt)


def find_cache(
    name: str,
    root: Path,
    paths: Sequence[str],
    folder: Path,
    *,
    size: int,
    corrupt: Corrupt,
    interpolation: Interpolation = "lanczos",
) -> CacheFile | None:
    """Return the cache that `open_cache` would open for the same arguments; None if it would have to build a cache.

    Nothing is written. Errors are those of `open_cache`. If there is no cache yet, only missing files and a disk that
    is too small are detected.
    """
    folder = folder / FOLDER
    with _disk_errors(folder):
        content = remembered_key(root, paths, folder)
        if content is None:
            if not any(folder.glob(f"{glob.escape(name)}-{size}px-*.arrow")):
                _check_space(folder, name, size, len(paths))
            return None
        metadata, path = _named(folder, name, content, size, len(paths), interpolation)
        if not path.exists():
            if not is_locked(path):  # a locked cache is being built, and already takes up part of the space
                _check_space(folder, name, size, len(paths))
            return None
        try:
            file = _opened(path, metadata, paths)
        except DamagedCacheError:  # `open_cache` logs the damage, and builds the cache again
            return None
    return _checked(file, len(paths), corrupt)


def _named(
    folder: Path, name: str, content: str, size: int, rows: int, interpolation: Interpolation
) -> tuple[Metadata, Path]:
    metadata = Metadata(FORMAT, name, size, rows, _key(content, size, interpolation), interpolation)
    return metadata, folder / f"{name}-{size}px-{metadata.key}.arrow"


def _checked(file: CacheFile, total: int, corrupt: Corrupt) -> CacheFile:
    """Return `file` unchanged. If some of its `total` images are corrupt, log a warning.

    Raise a UserError instead if `corrupt` is "refuse", or if all images are corrupt.
    """
    if errors := file.errors():
        refuse_corrupt(errors, total, corrupt)
        logger.warning("%s; they are left out (data.corrupt: skip)", finding(errors, total))
    return file


def _content(name: str, root: Path, paths: Sequence[str], folder: Path, progress: Progress, size: int) -> str:
    """Return the result of `content_key`. Before it reads the files, check that the disk has room for a new cache."""
    if (known := remembered_key(root, paths, folder)) is not None:
        return known
    # An existing cache of this name and size may be one of the same files in another folder. In that case no space is
    # needed. This is known only after the files have been read.
    if not any(folder.glob(f"{glob.escape(name)}-{size}px-*.arrow")):
        remove_abandoned(folder)
        _check_space(folder, name, size, len(paths))
    return content_key(root, paths, folder, progress)


def _key(content: str, size: int, interpolation: Interpolation) -> str:
    way = () if interpolation == "lanczos" else (interpolation,)
    made_of = repr((FORMAT, content, size, tuple(decoder_versions()), *way))
    return hashlib.blake2b(made_of.encode(), digest_size=10).hexdigest()


def _valid(path: Path, metadata: Metadata, paths: Sequence[str]) -> CacheFile | None:
    """Return the cache in the file `path`; None if there is no file. If it is damaged, delete it and return None.

    It is damaged, too, if its metadata is not `metadata` or its paths are not `paths`.
    """
    if not path.exists():
        return None
    try:
        return _opened(path, metadata, paths)
    except DamagedCacheError as error:
        logger.warning("the image cache %s is damaged (%s); building it anew", path, error)
        path.unlink()  # deleted now, because the disk may not have room for the old cache and the new one
        return None


def _opened(path: Path, metadata: Metadata, paths: Sequence[str]) -> CacheFile:
    file = CacheFile(path)
    if file.metadata != metadata or not file.has_paths(paths):
        raise DamagedCacheError("it belongs to something else")
    return file


def _check_space(folder: Path, name: str, size: int, rows: int) -> None:
    """Raise a UserError if the disk of `folder` has no room for a cache of `rows` images of `size` x `size` pixels.

    `folder` need not exist. Files that `remove_abandoned` would delete count as free space. The error names the data
    set, `name`.
    """
    needed = _file_bytes(size, rows)
    free = shutil.disk_usage(existing_folder(folder)).free + sum(left for _, left in abandoned_sizes(folder))
    if needed > free:
        raise UserError(
            f"data.cache: the images of {name} at {size} px need {format_bytes(needed)}, "
            f"and {folder} has {format_bytes(free)} free; {_OTHER_WAYS}"
        )


def _build(
    path: Path, metadata: Metadata, root: Path, paths: Sequence[str], progress: Progress, corrupt: Corrupt
) -> None:
    """Decode `paths` below `root`, and write the cache file `path`. No file is left if `refuse_corrupt` raises."""
    with atomic_write(path) as file:
        if errors := _write_rows(file, metadata, root, paths, progress, corrupt):
            refuse_corrupt(errors, len(paths), corrupt)


class _Row(NamedTuple):
    """Row of the cache for one image file: its path, and either pixels and their checksum or an error."""

    path: str
    pixels: np.ndarray | None
    crc32: int | None
    error: str | None


def _write_rows(
    file: BinaryIO, metadata: Metadata, root: Path, paths: Sequence[str], progress: Progress, corrupt: Corrupt
) -> list[tuple[str, str]]:
    """Decode `paths` below `root`, and write their rows to `file`. Return the path and reason of each corrupt image.

    If `corrupt` is "refuse", nothing more is written after the first corrupt image. The remaining files are still
    decoded, so that all corrupt images are found. About 200 MB of memory are used.
    """
    schema, batch_rows = metadata.schema(), rows_per_batch(metadata.size_px)
    errors: list[tuple[str, str]] = []
    cache = format_bytes(_file_bytes(metadata.size_px, metadata.rows))
    paced = PacedProgress(progress, f"decoding images (cache of {cache})", len(paths))
    decode_row = partial(_decode_row, root=str(root), size=metadata.size_px, interpolation=metadata.interpolation)
    with thread_map(decode_row, paths, ahead=2 * batch_rows) as decoded, pa.ipc.new_file(file, schema) as writer:
        for _ in range(0, len(paths), batch_rows):
            batch = []
            for row in islice(decoded, batch_rows):
                batch.append(row)
                paced.advance()
            errors += [(row.path, row.error) for row in batch if row.error is not None]
            if not errors or corrupt == "skip":
                writer.write_batch(_record_batch(batch, schema))
    return errors


def _decode_row(path: str, *, root: str, size: int, interpolation: Interpolation) -> _Row:
    try:
        pixels = decode(os.path.join(root, path), size, interpolation)
    except CorruptImageError as error:
        return _Row(as_text(path), None, None, error.reason)
    return _Row(as_text(path), pixels, zlib.crc32(pixels.data), None)


def _record_batch(rows: Sequence[_Row], schema: pa.Schema) -> pa.RecordBatch:
    image_type = schema.field("image").type
    pixels = np.zeros((len(rows), image_type.byte_width), dtype=np.uint8)
    for target, row in zip(pixels, rows, strict=True):
        if row.pixels is not None:
            target[:] = row.pixels.reshape(-1)
    valid = np.packbits([row.pixels is not None for row in rows], bitorder="little")
    buffers = [pa.py_buffer(valid), pa.py_buffer(pixels)]
    columns = [
        pa.array([row.path for row in rows], pa.string()),
        pa.FixedSizeBinaryArray.from_buffers(image_type, len(rows), buffers),
        pa.array([row.crc32 for row in rows], pa.uint32()),
        pa.array([row.error for row in rows], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


_OTHER_WAYS = (
    "set the environment variable MDR_TUNE_CACHE to a folder on a larger disk, choose a smaller data.resize, "
    "or set data.cache: false"
)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError in the `with` block into a UserError about the full or failing disk of `folder` and a remedy."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "is full" if full else "cannot be used"
        raise UserError(f"data.cache: {folder} {what} ({error.strerror or error}); {_OTHER_WAYS}") from error


def _file_bytes(size: int, rows: int) -> int:
    return rows * (image_bytes(size) + _ROW_BYTES)
