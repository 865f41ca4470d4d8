"""Decode images once, into a cache file that all processes of a node map: find it, build it, or build it anew."""

import errno
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
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import PIL
import pyarrow as pa
from PIL import features

from mdr_tune.cache_files import atomic_write, locked
from mdr_tune.data.images.abandoned import remove_abandoned
from mdr_tune.data.images.decoding import CorruptImageError, UnreadableFileError, decode
from mdr_tune.data.images.fingerprint import content_key
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
from mdr_tune.disk_space import format_bytes
from mdr_tune.errors import UserError
from mdr_tune.progress import Progress

logger = logging.getLogger(__name__)

Corrupt = Literal["refuse", "skip"]

_NAMED = 20  # of the corrupt images a message names as many
_ROW_BYTES = 200  # of a path, a checksum and what Arrow adds; generous


def open_cache(
    name: str, root: Path, paths: Sequence[str], folder: Path, progress: Progress, *, size: int, corrupt: Corrupt
) -> CacheFile:
    """Return the cache of the files `paths`, one row each, decoded to (size, size, 3).

    It lies below `folder` and is named by what it depends on: paths, content of the files, size, versions of the
    decoders. If there is none, or a damaged one, it is built. Of several processes one builds, the others wait; one
    that is killed leaves no file that could be taken for a cache.

    Raises:
        UserError: files are missing or cannot be read; images are corrupt, and `corrupt` is "refuse"; none can be
            decoded; or the disk is too small, full, or fails.
    """
    folder = folder / FOLDER
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        content = content_key(root, paths, folder, progress)
        metadata = Metadata(FORMAT, name, size, len(paths), _key(content, size))
        path = folder / f"{name}-{size}px-{metadata.key}.arrow"
        with locked(path):
            file = _valid(path, metadata, paths)
            if file is None:
                remove_abandoned(path)
                _check_space(folder, metadata)
                _build(path, metadata, root, paths, progress, corrupt)
                file = CacheFile(path)
    if errors := file.errors():
        _refuse(errors, len(paths), corrupt)
        logger.warning("%s; they are left out (data.corrupt: skip)", _finding(errors, len(paths)))
    return file


def _key(content: str, size: int) -> str:
    """Hash all that a cache depends on. Another version of a decoder may round a pixel otherwise."""
    decoders = (PIL.__version__, *(features.version(part) for part in ("jpg", "libjpeg_turbo", "webp")))
    made_of = repr((FORMAT, content, size, decoders))
    return hashlib.blake2b(made_of.encode(), digest_size=10).hexdigest()


def _valid(path: Path, metadata: Metadata, paths: Sequence[str]) -> CacheFile | None:
    """Open the cache, if there is one; remove it, if it is damaged."""
    if not path.exists():
        return None
    try:
        file = CacheFile(path)
        if file.metadata != metadata or not file.has_paths(paths):
            raise DamagedCacheError("it belongs to something else")
    except DamagedCacheError as error:
        logger.warning("the image cache %s is damaged (%s); building it anew", path, error)
        path.unlink()  # now: the disk may not have the space for both
        return None
    return file


def _check_space(folder: Path, metadata: Metadata) -> None:
    needed = _file_bytes(metadata)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"data.cache: the images of {metadata.name} at {metadata.size_px} px need {format_bytes(needed)}, "
            f"and {folder} has {format_bytes(free)} free; {_OTHER_WAYS}"
        )


def _build(
    path: Path, metadata: Metadata, root: Path, paths: Sequence[str], progress: Progress, corrupt: Corrupt
) -> None:
    """Write the cache; with corrupt images that are refused, name them all and leave nothing."""
    size = format_bytes(_file_bytes(metadata))
    logger.info("decoding the %d images of %s into %s (%s)", metadata.rows, metadata.name, path, size)
    with atomic_write(path) as file:
        try:
            errors = _write_rows(file, metadata, root, paths, progress, corrupt)
        except UnreadableFileError as error:
            raise UserError(f"data.root: the system could not read {error}; try again") from error
        if errors:
            _refuse(errors, len(paths), corrupt)


class _Row(NamedTuple):
    """One file's columns: an image and its checksum, or an error."""

    path: str
    pixels: np.ndarray | None
    crc32: int | None
    error: str | None


def _write_rows(
    file: BinaryIO, metadata: Metadata, root: Path, paths: Sequence[str], progress: Progress, corrupt: Corrupt
) -> list[tuple[str, str]]:
    """Decode all files and write them; return path and reason of the corrupt ones.

    After a corrupt image that is refused nothing more is written. About 200 MB of memory are used.
    """
    schema, batch_rows = metadata.schema(), rows_per_batch(metadata.size_px)
    errors: list[tuple[str, str]] = []
    paced = PacedProgress(progress, "decoding images", len(paths))
    decode_row = partial(_decode_row, root=str(root), size=metadata.size_px)
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


def _decode_row(path: str, *, root: str, size: int) -> _Row:
    try:
        pixels = decode(os.path.join(root, path), size)
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


def _refuse(errors: Sequence[tuple[str, str]], total: int, corrupt: Corrupt) -> None:
    """Raise a UserError that names the corrupt images, unless they may be skipped and others are left."""
    if corrupt == "refuse":
        way_out = "mend or delete them, or set data.corrupt: skip"
    elif len(errors) == total:
        way_out = "none would be left, so they cannot be skipped; see whether data.root is the right folder"
    else:
        return
    raise UserError(f"data.corrupt: {_finding(errors, total)}; {way_out}")


def _finding(errors: Sequence[tuple[str, str]], total: int) -> str:
    named = ", ".join(f"{path} ({reason})" for path, reason in errors[:_NAMED])
    more = f" and {len(errors) - _NAMED:,} more" if len(errors) > _NAMED else ""
    return f"{len(errors):,} of {total:,} images cannot be decoded: {named}{more}"


_OTHER_WAYS = (
    "set the environment variable MDR_TUNE_CACHE to a folder on a larger disk, choose a smaller data.resize, "
    "or set data.cache: off"
)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Say what a disk that is full, or does not work, means for the user."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "is full" if full else "cannot be used"
        raise UserError(f"data.cache: {folder} {what} ({error.strerror or error}); {_OTHER_WAYS}") from error


def _file_bytes(metadata: Metadata) -> int:
    return metadata.rows * (image_bytes(metadata.size_px) + _ROW_BYTES)
