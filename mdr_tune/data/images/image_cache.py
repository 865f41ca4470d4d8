"""The format of an image cache: an Arrow IPC file that other programs can read too, and how it is opened and checked.

One row a file of the data set, in record batches of a fixed number of rows, the last one shorter:

- `path` (string): as the data set lists it.
- `image` (fixed-size binary): height x width x RGB, row by row; null if the file holds no image that can be decoded.
- `crc32` (uint32): of these bytes; null likewise.
- `error` (string): why there is no image; null if there is one.

The schema's metadata holds what the file was made for: format, name of the data set, pixels, rows, key.
"""

import mmap
import os
import re
import stat
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mdr_tune.data.images.thread_map import thread_map
from mdr_tune.util.errors import UserError

FORMAT = "1"  # raise it with any change of the columns, the metadata or the decoding
FOLDER = "images"  # below the cache folder
_NAME = re.compile(r"(?P<name>.+)-(?P<size>\d+)px-(?P<key>[0-9a-f]+)")
_MOST_BATCH_ROWS = 256
_MOST_BATCH_BYTES = 64 << 20


class DamagedCacheError(Exception):
    """The file is not a whole image cache: cut short, damaged, or something else."""


class CachedFile(NamedTuple):
    """What `cached_files` says of one.

    Attributes:
        images: how many it has; 0 if there is a problem.
        bytes: its size; 0 if the system does not tell.
        problem: "damaged" as a whole, or "unreadable" and the system's reason; None if it can be used.
    """

    path: Path
    name: str
    size_px: int
    images: int
    bytes: int
    problem: str | None = None


class Metadata(NamedTuple):
    """What a cache file was made for."""

    format: str
    name: str
    size_px: int
    rows: int
    key: str

    def schema(self) -> pa.Schema:
        """Return the schema of the file, this metadata in it."""
        columns = {
            "path": pa.string(),
            "image": pa.binary(image_bytes(self.size_px)),
            "crc32": pa.uint32(),
            "error": pa.string(),
        }
        return pa.schema(columns, {name: str(value) for name, value in self._asdict().items()})

    @classmethod
    def of_schema(cls, schema: pa.Schema) -> "Metadata":
        """Read what `schema` wrote; KeyError or ValueError if it did not."""
        text = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
        return cls(text["format"], text["name"], int(text["size_px"]), int(text["rows"]), text["key"])


def image_bytes(size_px: int) -> int:
    """Return the bytes of one image of size_px x size_px RGB pixels."""
    return size_px * size_px * 3


def rows_per_batch(size_px: int) -> int:
    """Return the rows of a record batch: some tens of megabytes."""
    return max(1, min(_MOST_BATCH_ROWS, _MOST_BATCH_BYTES // image_bytes(size_px)))


def as_text(path: str) -> str:
    """Return a path as the cache stores it; bytes of a file name that are no UTF-8 are escaped."""
    return path.encode("utf-8", "backslashreplace").decode()


class CacheFile:
    """An opened cache file, of which a few bytes have been read.

    The file is mapped read-only into memory and shared by all processes of a node. Nothing that a caller gets is a
    view of the mapping, so unlike with the glyphs it need not be copy-on-write; that kind of mapping the kernel
    refuses for a file that is larger than the memory. The mapping outlives the file's name: a rebuild or a deletion
    leaves those who read undisturbed.

    Raises:
        DamagedCacheError: cut short, of another format, or its first or last image has another checksum.
        OSError: the system cannot open or map it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:  # an error of the system says nothing about the file
            if not os.fstat(file.fileno()).st_size:
                raise DamagedCacheError("empty")
            self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            self._whole = pa.py_buffer(self._mapping)
            reader = pa.ipc.open_file(pa.BufferReader(self._whole))
            self.metadata = Metadata.of_schema(reader.schema)
            if reader.schema != self.metadata.schema() or self.metadata.format != FORMAT:
                raise DamagedCacheError("another format")
            self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            self._check_batches()
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise DamagedCacheError(str(error)) from error

    def _check_batches(self) -> None:
        for batch in self._batches:
            batch.validate(full=True)  # all but the pixels; who follows an offset that is wrong ends with a segfault
            counts = {batch[column].null_count for column in ("image", "crc32")}
            if counts != {len(batch) - batch["error"].null_count}:
                raise DamagedCacheError("some images have neither pixels nor an error")
        full, rows = rows_per_batch(self.metadata.size_px), self.metadata.rows
        expected = [min(full, rows - start) for start in range(0, rows, full)]
        if [len(batch) for batch in self._batches] != expected:
            raise DamagedCacheError(f"not the {rows} rows that it should have")
        ends = self.readable[[0, -1]] if len(self.readable) else ()
        if any(self._damaged_paths(int(row) // full, int(row) % full) for row in ends):
            raise DamagedCacheError("an image does not match its checksum")

    @cached_property
    def readable(self) -> np.ndarray:
        """The rows that have an image, (n,) int64 ascending."""
        valid = [batch["image"].is_valid().to_numpy(zero_copy_only=False) for batch in self._batches]
        return np.flatnonzero(np.concatenate([np.zeros(0, bool), *valid]))

    @cached_property
    def checksums(self) -> np.ndarray:
        """The CRC-32 of each readable image's pixels, (n,) uint32."""
        columns = pa.chunked_array([batch["crc32"] for batch in self._batches], pa.uint32())
        checksums: np.ndarray = columns.drop_null().to_numpy()
        return checksums

    @cached_property
    def pixels(self) -> list[np.ndarray]:
        """The images of each record batch, (rows, size, size, 3) uint8, views of the file that cannot be written to."""
        size = self.metadata.size_px
        arrays = (np.frombuffer(batch["image"].buffers()[1], np.uint8) for batch in self._batches)
        return [array.reshape(-1, size, size, 3) for array in arrays]

    def pixels_of(self, row: int) -> np.ndarray:
        """Return the image of a row that has one, (size, size, 3) uint8, a view of the file."""
        number, place = divmod(row, rows_per_batch(self.metadata.size_px))
        pixels: np.ndarray = self.pixels[number][place]
        return pixels

    def copy_rows(self, rows: Sequence[int], images: np.ndarray) -> None:
        """Copy the images of some rows, which have one each, into `images` (m, size, size, 3)."""
        places = [divmod(row, rows_per_batch(self.metadata.size_px)) for row in rows]
        # A disk then reads all of them side by side; the copies alone would have it read one after the other.
        # Measured with a file that is not in memory: a third of the time.
        for number, row in places:
            self._announce(number, row)
        for image, (number, row) in zip(images, places, strict=True):
            image[...] = self.pixels[number][row]

    def _announce(self, number: int, row: int) -> None:
        length = image_bytes(self.metadata.size_px)
        start = self._offsets[number] + row * length
        page_start = start - start % mmap.PAGESIZE
        self._mapping.madvise(mmap.MADV_WILLNEED, page_start, start + length - page_start)

    @cached_property
    def _offsets(self) -> list[int]:
        """Where the images of each record batch begin in the file, bytes."""
        return [batch["image"].buffers()[1].address - self._whole.address for batch in self._batches]

    def has_paths(self, paths: Sequence[str]) -> bool:
        """Return whether these are the paths of the rows."""
        wanted = pa.chunked_array([[as_text(path) for path in paths]], pa.string())
        return bool(pa.chunked_array([batch["path"] for batch in self._batches], pa.string()).equals(wanted))

    def errors(self) -> list[tuple[str, str]]:
        """Return path and reason of the rows without an image."""
        with_errors = [batch.filter(batch["error"].is_valid()) for batch in self._batches if batch["error"].null_count]
        return [
            (path.as_py(), reason.as_py())
            for batch in with_errors
            for path, reason in zip(batch["path"], batch["error"], strict=True)
        ]

    def damaged(self) -> list[str]:
        """Read all images, and return the paths of those that do not match their checksum."""
        with thread_map(self._damaged_paths, range(len(self._batches))) as parts:
            return [path for part in parts for path in part]

    def _damaged_paths(self, number: int, only_row: int | None = None) -> list[str]:
        batch, pixels = self._batches[number], self.pixels[number]
        rows = range(len(batch)) if only_row is None else (only_row,)
        crcs = batch["crc32"]
        return [
            batch["path"][row].as_py()
            for row in rows
            if crcs[row].is_valid and zlib.crc32(pixels[row].data) != crcs[row].as_py()
        ]


def verify(path: Path) -> list[str]:
    """Read all of a cache file, and return the paths of the images that do not match their checksum.

    Raises:
        UserError: the file as a whole is damaged, or cannot be read.
    """
    try:
        return CacheFile(path).damaged()
    except OSError as error:
        raise UserError(
            f"{path} is {_unreadable(error)}: see who may read it, and whether it is still there"
        ) from error
    except DamagedCacheError as error:
        raise UserError(f"{path} is damaged ({error}): delete it, it is built anew when it is needed") from error


def cached_files(folder: Path) -> list[CachedFile]:
    """Return the image caches below the cache folder `folder`, sorted by path; what has another name is none."""
    paths = sorted((folder / FOLDER).glob("*.arrow"))
    named = [(path, match) for path in paths if (match := _NAME.fullmatch(path.stem))]
    found = [_described(path, match["name"], int(match["size"])) for path, match in named]
    return [file for file in found if file is not None]


def _described(path: Path, name: str, size_px: int) -> CachedFile | None:
    """Return what is known of the file that is named like a cache; None if it is no file, such as a folder."""
    size_bytes = 0
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None
        size_bytes = status.st_size
        file = CacheFile(path)
    except OSError as error:
        return CachedFile(path, name, size_px, 0, size_bytes, _unreadable(error))
    except DamagedCacheError:
        return CachedFile(path, name, size_px, 0, size_bytes, "damaged")
    return CachedFile(path, file.metadata.name, file.metadata.size_px, len(file.readable), size_bytes)


def _unreadable(error: OSError) -> str:
    return f"unreadable ({(error.strerror or str(error)).lower()})"
