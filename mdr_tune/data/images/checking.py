"""Decode all images of a data set without an image cache once, at the start, so that corrupt images are found early."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from PIL import features

from mdr_tune.data.images.copies import first_with, pixel_hash
from mdr_tune.data.images.corrupt import refuse_corrupt
from mdr_tune.data.images.decoding import CorruptImageError, Interpolation, decode
from mdr_tune.data.images.fingerprint import content_key, remembered_key
from mdr_tune.data.images.image_cache import FOLDER, as_text
from mdr_tune.data.images.thread_map import PacedProgress, thread_map
from mdr_tune.util.cache_folder import locked
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import atomic_write
from mdr_tune.util.progress import Progress


class CheckedImages(NamedTuple):
    """Result of a check of n images, all of which can be decoded.

    Attributes:
        content: hash of the files and their paths, see `content_key`.
        first_copies: (n,) int64, for each image the index of the first image with the same pixels (maybe itself).
    """

    content: str
    first_copies: np.ndarray


def decoder_versions() -> list[str | None]:
    """Return the versions of Pillow and its decoders, because another version may decode an image to other pixels."""
    return [PIL.__version__, *(features.version(part) for part in ("jpg", "libjpeg_turbo", "webp"))]


def check_images(
    root: Path,
    paths: Sequence[str],
    folder: Path,
    progress: Progress,
    size: int,
    interpolation: Interpolation = "lanczos",
) -> CheckedImages:
    """Decode all image files once to check them, and store the result of the check in the cache folder `folder`.

    If a result for the same content, size and decoders has been stored before, it is returned, and nothing is decoded.
    If several processes call this at once, one decodes and the others wait.

    Args:
        root: folder that `paths` are relative to.
        paths: paths of the files.
        folder: the cache folder.
        progress: called with the number of files read so far, and then with the number of files decoded so far.
        size: height and width, in pixels, to which images are resized before they are compared.
        interpolation: filter by which they are resized.

    Raises:
        UserError: files are missing, unreadable or corrupt (up to twenty are named), or `folder` cannot be written to.
    """
    folder = folder / FOLDER
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        content = content_key(root, paths, folder, progress)
        memory = _memory(folder, content, size, interpolation)
        if (known := _remembered(memory, content, len(paths))) is not None:
            return known
        with locked(memory):
            if (known := _remembered(memory, content, len(paths))) is not None:
                return known
            errors, hashes = _decoded(root, paths, progress, size, interpolation)
            if errors:
                refuse_corrupt(errors, len(paths), "refuse", skipping_needs="data.cache: true")
            first = first_with(hashes)
            copies = np.flatnonzero(first != np.arange(len(first)))
            found = {"decoders": decoder_versions(), "copies": [copies.tolist(), first[copies].tolist()]}
            with atomic_write(memory) as file:
                file.write(json.dumps(found).encode())
            return CheckedImages(content, first)


def find_checked(
    root: Path, paths: Sequence[str], folder: Path, size: int, interpolation: Interpolation = "lanczos"
) -> CheckedImages | None:
    """Return the stored result of `check_images` for the same arguments; None if `check_images` would have to decode.

    Nothing is written. It is a UserError if files are missing, or if `folder` cannot be read.
    """
    folder = folder / FOLDER
    with _disk_errors(folder):
        content = remembered_key(root, paths, folder)
        if content is None:
            return None
        return _remembered(_memory(folder, content, size, interpolation), content, len(paths))


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"data.cache: {folder} cannot be used ({error.strerror or error}), and even without a cache it is to keep "
            "a few bytes: set the environment variable MDR_TUNE_CACHE to another folder"
        ) from error


def _memory(folder: Path, content: str, size: int, interpolation: Interpolation) -> Path:
    way = "" if interpolation == "lanczos" else f"-{interpolation}"
    return folder / f"checked-{content}-{size}px{way}.json"


def _remembered(memory: Path, content: str, number: int) -> CheckedImages | None:
    """Return the result that an earlier check of `number` images with the hash `content` stored in the file `memory`.

    Return None if the file does not exist or is damaged, or if the versions of the decoders have changed.
    """
    try:
        remembered = json.loads(memory.read_bytes())
        if remembered["decoders"] != decoder_versions():
            return None
        first = np.arange(number)
        copies, originals = remembered["copies"]
        first[copies] = originals
    except (FileNotFoundError, ValueError, KeyError, TypeError, IndexError):  # no file, or a damaged one
        return None
    return CheckedImages(content, first)


def _decoded(
    root: Path, paths: Sequence[str], progress: Progress, size: int, interpolation: Interpolation
) -> tuple[list[tuple[str, str]], list[bytes]]:
    """Decode the files `paths` below `root`, resized to `size` pixels.

    Return the path and reason of each corrupt file, and the `pixel_hash` of each of the remaining files.
    """
    errors, hashes = [], []
    paced = PacedProgress(progress, "checking images", len(paths))
    with thread_map(partial(_hash, root=str(root), size=size, interpolation=interpolation), paths) as found:
        for path, result in zip(paths, found, strict=True):
            if isinstance(result, CorruptImageError):
                errors.append((as_text(path), result.reason))
            else:
                hashes.append(result)
            paced.advance()
    return errors, hashes


def _hash(path: str, *, root: str, size: int, interpolation: Interpolation) -> bytes | CorruptImageError:
    try:
        return pixel_hash(decode(os.path.join(root, path), size, interpolation))
    except CorruptImageError as error:
        return error
