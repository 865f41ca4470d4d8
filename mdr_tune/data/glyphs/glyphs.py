"""The built-in data set `glyphs`, for retrieval of letters that were not trained on. It needs no download.

A class is a letter. Its twelve images show that letter in the twelve DejaVu typefaces, each slanted, moved and made
noisy at random. The images are rendered once, in a few seconds, into an Arrow file that is memory-mapped from then on.
"""

import hashlib
import logging
import mmap
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pyarrow as pa
import torch
from PIL import features

from mdr_tune.data.dataset import SPLIT_NAMES, ImageDataset, ImageSplit, OpenedDataset, SearchSplitName, SplitName
from mdr_tune.data.glyphs import render
from mdr_tune.data.glyphs.letters import FACES, distinct_letters, font_path
from mdr_tune.data.listings.class_split import draw_classes
from mdr_tune.data.listings.listing import ChosenImages
from mdr_tune.util.cache_folder import locked
from mdr_tune.util.files import atomic_write

logger = logging.getLogger(__name__)

VERSION = 1  # raise it with any change of the images, the labels or the splits
SEED = 2021  # seed of the images and of the split; it belongs to the data set, not to a trial
SPLIT_PERCENT = {"train": 50, "validation": 15, "test": 35}  # shares of the classes
IMAGE_BYTES = render.IMAGE_SIZE**2

_CHECKSUM_KEY = b"images_crc32"


class _CorruptFileError(Exception):
    """The cached file of rendered letters is cut short or damaged, or `prepare` did not write it."""


def prepare(cache_dir: Path) -> Path:
    """Return the path of the data set's Arrow file in `cache_dir`. If there is no valid file, it is rendered first.

    The file has one record batch with the columns image (1024 bytes: the pixels, row by row), label, codepoint, face
    and split. Each split is a contiguous range of rows. If several processes call this, one renders and the others
    wait.
    """
    path = cache_dir / f"glyphs-v{VERSION}-{_fingerprint()}.arrow"
    with locked(path):
        if not _is_valid(path):
            logger.info("rendering the glyphs data set into %s", path)
            table = _render_table()
            with atomic_write(path) as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_batch(table)
    return path


def open_glyphs(cache_dir: Path, validation: Mapping[str, Any] | None = None) -> OpenedDataset:
    """Open the data set `glyphs`. Its images are rendered first if the cache folder `cache_dir` does not have them.

    `validation` has arguments of `draw_classes`, to draw the validation classes anew from the classes that are not test
    classes. Labels are then numbered from 0 through the training and the validation classes. None: the fixed classes.

    The images of each split, (n, 1, 32, 32), are views of the memory-mapped file. Processes share the pages of the
    file. If a process writes into the images, only its own copy changes (copy-on-write).
    """
    batch, pixels = _open(prepare(cache_dir))
    images = torch.from_numpy(pixels)
    labels = torch.from_numpy(batch["label"].to_numpy().astype(np.int64))
    split_ids = batch["split"].indices.to_numpy()  # ascending

    def split(name: SplitName) -> ImageSplit:
        start, stop = np.searchsorted(split_ids, np.arange(2) + SPLIT_NAMES.index(name))
        return ImageSplit(images=images[start:stop], labels=labels[start:stop])

    parts: dict[SearchSplitName, ImageSplit] = {"train": split("train"), "validation": split("validation")}
    content = _fingerprint()
    if validation is not None:
        searchable = int(np.searchsorted(split_ids, SPLIT_NAMES.index("test")))
        parts = _drawn(images[:searchable], labels[:searchable], validation)
        content += f"-{hashlib.blake2b(repr(sorted(validation.items())).encode(), digest_size=4).hexdigest()}"
    return OpenedDataset(ImageDataset("glyphs", parts, content=content), split("test"))


def _drawn(
    images: torch.Tensor, labels: torch.Tensor, validation: Mapping[str, Any]
) -> dict[SearchSplitName, ImageSplit]:
    """Return the training and validation split of n `images` with these `labels`, (n,), see `open_glyphs`."""
    known = labels.numpy()
    drawn = draw_classes(known, "validation", **validation)
    classes = {"train": np.setdiff1d(known, drawn), "validation": drawn}
    parts: dict[SearchSplitName, ImageSplit] = {}
    first = 0
    for name in ("train", "validation"):
        rows = np.flatnonzero(np.isin(known, classes[name]))
        numbers = first + np.searchsorted(classes[name], known[rows])
        parts[name] = ImageSplit(ChosenImages(images, rows), torch.from_numpy(numbers))
        first += len(classes[name])
    return parts


def split_letters() -> dict[str, list[int]]:
    """Return the code points of each split's classes, by name of the split, in the order of their labels.

    The `distinct_letters` are put in a seeded random order, divided by `SPLIT_PERCENT`, and sorted within each split.
    Labels are numbered from 0 through all splits, in the order of `SPLIT_NAMES`.
    """
    letters = np.random.default_rng(SEED).permutation(distinct_letters())
    percent = np.cumsum([SPLIT_PERCENT[name] for name in SPLIT_NAMES[:-1]])
    parts = np.split(letters, percent * len(letters) // 100)
    return {name: sorted(part.tolist()) for name, part in zip(SPLIT_NAMES, parts, strict=True)}


def _render_table() -> pa.RecordBatch:
    """Render all images, and return them as a table: class after class, each class in the order of `FACES`."""
    codes_of = split_letters()
    codes = [code for name in SPLIT_NAMES for code in codes_of[name]]
    renderers = [render.GlyphRenderer(face, SEED) for face in range(len(FACES))]
    images = np.stack([renderer.render(code) for code in codes for renderer in renderers])
    class_sizes = [len(codes_of[name]) * len(FACES) for name in SPLIT_NAMES]
    columns = {
        "image": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(IMAGE_BYTES), len(images), [None, pa.py_buffer(images)]
        ),
        "label": pa.array(np.repeat(np.arange(len(codes), dtype=np.int32), len(FACES))),
        "codepoint": pa.array(np.repeat(np.array(codes, dtype=np.int32), len(FACES))),
        "face": _names(np.tile(np.arange(len(FACES)), len(codes)), FACES),
        "split": _names(np.repeat(np.arange(len(SPLIT_NAMES)), class_sizes), SPLIT_NAMES),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    return batch.replace_schema_metadata({_CHECKSUM_KEY: str(zlib.crc32(images.data))})


def _names(ids: np.ndarray, names: tuple[str, ...]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(ids.astype(np.int8), pa.array(names))


def _open(path: Path) -> tuple[pa.RecordBatch, np.ndarray]:
    """Map the file at `path` into memory. Return its record batch, and views of its images, (n, 1, 32, 32) uint8.

    Raise _CorruptFileError if the file cannot be opened or does not match its checksum.
    """
    try:
        with path.open("rb") as file:
            # Not pa.memory_map, which maps read-only: an in-place operation on such a tensor is a segfault.
            # In a private copy-on-write mapping, it changes this process's copy.
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        whole = pa.py_buffer(mapping)
        batch = pa.ipc.open_file(pa.BufferReader(whole)).get_batch(0)
        offset = batch["image"].buffers()[1].address - whole.address
        pixels = np.frombuffer(mapping, np.uint8, count=len(batch) * IMAGE_BYTES, offset=offset)
        intact = batch.schema.metadata[_CHECKSUM_KEY] == str(zlib.crc32(pixels.data)).encode()
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise _CorruptFileError(str(error)) from error
    if not intact:
        raise _CorruptFileError("the images do not match their checksum")
    return batch, pixels.reshape(-1, 1, render.IMAGE_SIZE, render.IMAGE_SIZE)


def _is_valid(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        _open(path)
    except _CorruptFileError as error:
        logger.warning("%s is damaged (%s); rendering it anew", path, error)
        return False
    return True


@cache
def _fingerprint() -> str:
    """Return a hash of everything that the rendered images depend on, except for the code, which `VERSION` covers."""
    digest = hashlib.blake2b(digest_size=6)
    digest.update(repr((SEED, SPLIT_PERCENT, render.parameters(), distinct_letters())).encode())
    # The rasteriser: another version may shade edges otherwise.
    digest.update(f"{PIL.__version__} {features.version('freetype2')}".encode())
    for face in FACES:
        digest.update(font_path(face).read_bytes())
    return digest.hexdigest()
