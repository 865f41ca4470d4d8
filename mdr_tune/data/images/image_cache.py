"""The file format of an image cache, and functions that open and check such a file.

A cache is an Arrow IPC file, so that other programs can read it too. It has one row for each file of the data set. The
rows are in record batches of a fixed length; only the last batch may be shorter. Its columns:

- `path` (string): path of the file, as the data set lists it.
- `image` (fixed-size binary): height x width x RGB, row by row; null if the file cannot be decoded.
- `crc32` (uint32): CRC-32 of the image's bytes; null if there is no image.
- `error` (string): why there is no image; null if there is one.

The schema's metadata is explained in `Metadata`.
"""

import mmap
import os
import re
import stat
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mdr_tune.data.images.decoding import Interpolation
from mdr_tune.data.images.thread_map import thread_map
from mdr_tune.util.errors import UserError

FORMAT = "1"  # raise it whenever the columns, the metadata or the decoding change
FOLDER = "images"  # name of the folder, in the cache folder, that holds the caches
_NAME = re.compile(r"(?P<name>.+)-(?P<size>\d+)px-(?P<key>[0-9a-f]+)")
_MOST_BATCH_ROWS = 256
_MOST_BATCH_BYTES = 64 << 20


class DamagedCacheError(Exception):
    """The file is not a complete image cache: it is cut short, damaged, or a file of another kind."""


class CachedFile(NamedTuple):
    """Description of an image cache file, as `cached_files` lists them.

    Attributes:
        path: path of the file.
        name: name of the data set.
        size_px: height and width of the images in pixels.
        images: number of images that could be decoded; 0 if there is a problem.
        bytes: size of the file in bytes; 0 if the size is unknown because the file cannot be accessed.
        problem: "damaged", or "unreadable" with the system's reason; None if the file can be used.
        interpolation: filter by which the images were resized.
    """

    path: Path
    name: str
    size_px: int
    images: int
    bytes: int
    problem: str | None = None
    interpolation: Interpolation = "lanczos"


class Metadata(NamedTuple):
    """Description of the images in a cache file, stored in the schema of the file.

    Attributes:
        format: version of the file format, see `FORMAT`.
        name: name of the data set.
        size_px: height and width of the images in pixels.
        rows: number of files of the data set, corrupt ones included.
        key: hash of all that the cache depends on, hexadecimal.
        interpolation: filter by which the images were resized. A file without it, as all of older versions, has the
            default.
    """

    format: str
    name: str
    size_px: int
    rows: int
    key: str
    interpolation: Interpolation = "lanczos"

    def schema(self) -> pa.Schema:
        """Return the Arrow schema of the cache file, with this metadata in it."""
        columns = {
            "path": pa.string(),
            "image": pa.binary(image_bytes(self.size_px)),
            "crc32": pa.uint32(),
            "error": pa.string(),
        }
        metadata = {name: str(value) for name, value in self._asdict().items()}
        if self.interpolation == "lanczos":
            del metadata["interpolation"]
        return pa.schema(columns, metadata)

    @classmethod
    def of_schema(cls, schema: pa.Schema) -> "Metadata":
        """Read the metadata back from a file's `schema`. Raise KeyError or ValueError if it does not have them."""
        text = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
        interpolation: Any = text.get("interpolation", "lanczos")
        return cls(text["format"], text["name"], int(text["size_px"]), int(text["rows"]), text["key"], interpolation)


def image_bytes(size_px: int) -> int:
    """Return the size in bytes of one image of size_px x size_px RGB pixels."""
    return size_px * size_px * 3


def rows_per_batch(size_px: int) -> int:
    """Return the number of rows in a full record batch, at most 256 and 64 MiB, for images of `size_px` pixels."""
    return max(1, min(_MOST_BATCH_ROWS, _MOST_BATCH_BYTES // image_bytes(size_px)))


def as_text(path: str) -> str:
    """Return `path` as text for the cache, in which bytes that are not UTF-8 are escaped."""
    return path.encode("utf-8", "backslashreplace").decode()


class CacheFile:
    """The opened cache file at `path`. Opening checks all columns, but only the first and the last image.

    The file is mapped read-only into memory and shared by all processes of a node. It is not mapped copy-on-write, as
    `glyphs` is: data sets get copies of the images anyway, and the kernel refuses such a mapping if the file is larger
    than the memory. The mapping stays valid when the file is deleted or replaced, so readers do not notice.

    Raises:
        DamagedCacheError: the file is cut short or of another format, or its first or last image has a wrong checksum.
        OSError: the system cannot open or map the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:  # outside the try: an OSError here does not mean that the file is damaged
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
            batch.validate(full=True)  # all but the pixels; a wrong offset would be a segfault later
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
        """Indices of the rows that have an image, ascending, (n,) int64."""
        valid = [batch["image"].is_valid().to_numpy(zero_copy_only=False) for batch in self._batches]
        return np.flatnonzero(np.concatenate([np.zeros(0, bool), *valid]))

    @cached_property
    def checksums(self) -> np.ndarray:
        """CRC-32 of each readable image's pixels, (n,) uint32."""
        columns = pa.chunked_array([batch["crc32"] for batch in self._batches], pa.uint32())
        checksums: np.ndarray = columns.drop_null().to_numpy()
        return checksums

    @cached_property
    def pixels(self) -> list[np.ndarray]:
        """Images of each record batch, (rows, size, size, 3) uint8, as read-only views; zeros where there is none."""
        size = self.metadata.size_px
        arrays = (np.frombuffer(batch["image"].buffers()[1], np.uint8) for batch in self._batches)
        return [array.reshape(-1, size, size, 3) for array in arrays]

    def pixels_of(self, row: int) -> np.ndarray:
        """Return the image of `row`, which must have one: (size, size, 3) uint8, a read-only view of the file."""
        number, place = divmod(row, rows_per_batch(self.metadata.size_px))
        pixels: np.ndarray = self.pixels[number][place]
        return pixels

    def copy_rows(self, rows: Sequence[int], images: np.ndarray) -> None:
        """Copy the images of the m `rows` into `images`, (m, size, size, 3). Each row must have an image."""
        places = [divmod(row, rows_per_batch(self.metadata.size_px)) for row in rows]
        # All images are announced to the kernel first, so that the disk reads them at the same time. Without this, it
        # would read one after another. For a file that is not in memory, this was measured to take a third of the time.
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
        """Position in the file, in bytes, at which the images of each record batch begin."""
        return [batch["image"].buffers()[1].address - self._whole.address for batch in self._batches]

    def has_paths(self, paths: Sequence[str]) -> bool:
        """Return whether `paths` are the paths of the cache's rows, in the same order."""
        wanted = pa.chunked_array([[as_text(path) for path in paths]], pa.string())
        return bool(pa.chunked_array([batch["path"] for batch in self._batches], pa.string()).equals(wanted))

    def errors(self) -> list[tuple[str, str]]:
        """Return (path, reason) for each row without an image: the reason why its file could not be decoded."""
        with_errors = [batch.filter(batch["error"].is_valid()) for batch in self._batches if batch["error"].null_count]
        return [
            (path.as_py(), reason.as_py())
            for batch in with_errors
            for path, reason in zip(batch["path"], batch["error"], strict=True)
        ]

    def damaged(self) -> list[str]:
        """Read all images, and return the paths of the images that do not match their checksum."""
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
    """Return the paths of the images in the cache file at `path` that do not match their checksum.

    Raises:
        UserError: the file is damaged as a whole, or cannot be read.
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
    """Return descriptions of the files named like an image cache in the cache folder `folder`, sorted by path."""
    paths = sorted((folder / FOLDER).glob("*.arrow"))
    named = [(path, match) for path in paths if (match := _NAME.fullmatch(path.stem))]
    found = [_described(path, match["name"], int(match["size"])) for path, match in named]
    return [file for file in found if file is not None]


def _described(path: Path, name: str, size_px: int) -> CachedFile | None:
    """Return the description of the file at `path`, which is named like a cache; None if it is not a regular file.

    If the file cannot be opened, `name` and `size_px` of the description are those in the file's name.
    """
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
    about = file.metadata
    return CachedFile(
        path, about.name, about.size_px, len(file.readable), size_bytes, interpolation=about.interpolation
    )


def _unreadable(error: OSError) -> str:
    return f"unreadable ({(error.strerror or str(error)).lower()})"
