"""Images that no cache keeps, decoded once before the first is used, so that corrupt ones are named at the start."""

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import PIL
from PIL import features

from mdr_tune.cache_files import atomic_write, locked
from mdr_tune.data.images.corrupt import refuse_corrupt
from mdr_tune.data.images.decoding import CorruptImageError, decode
from mdr_tune.data.images.fingerprint import content_key
from mdr_tune.data.images.image_cache import FOLDER, as_text
from mdr_tune.data.images.thread_map import PacedProgress, thread_map
from mdr_tune.errors import UserError
from mdr_tune.progress import Progress

_SIZE_PX = 1  # the whole image is decoded whatever its size becomes


def decoder_versions() -> list[str | None]:
    """Return the versions of what decodes; another one may round a pixel otherwise, or refuse an image."""
    return [PIL.__version__, *(features.version(part) for part in ("jpg", "libjpeg_turbo", "webp"))]


def check_images(root: Path, paths: Sequence[str], folder: Path, progress: Progress) -> str:
    """Decode all files, unless this has been done for the same content; keep only that it was, a small file.

    Returns a hash of the files and their paths, see `content_key`.

    Of several processes one decodes, and the others wait.

    Args:
        root: the folder that `paths` are relative to.
        paths: of the files.
        folder: the cache folder; the small file lies below it.
        progress: is told how many files have been read, and then how many decoded.

    Raises:
        UserError: files are missing, cannot be read, or are corrupt, all of which are named; or `folder` cannot be
            written to.
    """
    folder = folder / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        content = content_key(root, paths, folder, progress)
        memory = folder / f"checked-{content}.json"
        if _is_checked(memory):
            return content
        with locked(memory):
            if _is_checked(memory):
                return content
            if errors := _errors(root, paths, progress):
                refuse_corrupt(errors, len(paths), "refuse", skipping_needs="data.cache: on")
            with atomic_write(memory) as file:
                file.write(json.dumps({"decoders": decoder_versions()}).encode())
            return content
    except OSError as error:
        raise UserError(
            f"data.cache: {folder} cannot be used ({error.strerror or error}), and even without a cache it is to keep "
            "a few bytes: set the environment variable MDR_TUNE_CACHE to another folder"
        ) from error


def _is_checked(memory: Path) -> bool:
    try:
        remembered = json.loads(memory.read_bytes())
        return bool(remembered["decoders"] == decoder_versions())
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or damaged
        return False


def _errors(root: Path, paths: Sequence[str], progress: Progress) -> list[tuple[str, str]]:
    """Decode all files; return path and reason of the corrupt ones."""
    errors = []
    paced = PacedProgress(progress, "checking images", len(paths))
    with thread_map(partial(_error, root=str(root)), paths) as found:
        for path, reason in zip(paths, found, strict=True):
            if reason is not None:
                errors.append((as_text(path), reason))
            paced.advance()
    return errors


def _error(path: str, *, root: str) -> str | None:
    try:
        decode(os.path.join(root, path), _SIZE_PX)
    except CorruptImageError as error:
        return error.reason
    return None
