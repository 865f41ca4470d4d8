"""Open the image files of a data set as `Images`, which are read from the cache or decoded at each read."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mdr_tune.data.images.cached_images import CachedImages
from mdr_tune.data.images.checking import CheckedImages, check_images, find_checked
from mdr_tune.data.images.corrupt import Corrupt
from mdr_tune.data.images.decoding import CorruptImageError, Interpolation, decode
from mdr_tune.data.images.image_cache_build import find_cache, open_cache
from mdr_tune.data.images.thread_map import thread_map
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress


def open_images(
    name: str,
    root: Path,
    paths: Sequence[str],
    folder: Path,
    progress: Progress,
    *,
    resize: int,
    cache: bool,
    corrupt: Corrupt,
    interpolation: Interpolation = "lanczos",
) -> "tuple[CachedImages | DecodedImages, np.ndarray]":
    """Return the m images that can be decoded, (m, 3, resize, resize) uint8, and their m ascending indices in `paths`.

    `name`, `root` and `progress` are those of `open_cache`. The pixels are the same with and without the cache.

    Args:
        paths: paths of n files, with forward slashes, relative to `root` or absolute.
        folder: the cache folder. Without `cache`, a small file in it records that the images have been checked.
        resize: height and width of the images in pixels.
        cache: True: the decoded images, n x resize x resize x 3 bytes, are kept on disk for all processes and later
            starts. False: each read decodes its images; the first start decodes all once to check them.
        corrupt: what to do about files that cannot be decoded. "refuse": raise an error. "skip": leave them out with a
            warning. "skip" needs `cache`, because the cache records which files are corrupt.
        interpolation: filter by which the images are resized.

    Raises:
        UserError: for the reasons of `open_cache` (up to twenty corrupt files are named), or "skip" lacks the cache.
    """
    if cache:
        file = open_cache(
            name, root, paths, folder, progress, size=resize, corrupt=corrupt, interpolation=interpolation
        )
        return CachedImages(file), file.readable.copy()
    if corrupt == "skip":
        raise UserError(
            "data.corrupt: skip needs data.cache: true, which decodes all images before the first is used; "
            "set data.cache: true or data.corrupt: refuse"
        )
    checked = check_images(root, paths, folder, progress, resize, interpolation)
    return DecodedImages(root, paths, resize, checked, interpolation), np.arange(len(paths))


def find_images(
    name: str,
    root: Path,
    paths: Sequence[str],
    folder: Path,
    *,
    resize: int,
    cache: bool,
    corrupt: Corrupt,
    interpolation: Interpolation = "lanczos",
) -> "tuple[CachedImages | DecodedImages, np.ndarray] | None":
    """Return what `open_images` would return for the same arguments; None if `open_images` would have to decode.

    Nothing is written. Errors are those of `open_images`. A disk without room for the cache is an error here, too.
    """
    if cache:
        file = find_cache(name, root, paths, folder, size=resize, corrupt=corrupt, interpolation=interpolation)
        return None if file is None else (CachedImages(file), file.readable.copy())
    checked = find_checked(root, paths, folder, resize, interpolation)
    if checked is None:
        return None
    return DecodedImages(root, paths, resize, checked, interpolation), np.arange(len(paths))


class DecodedImages:
    """The images `paths` below `root` as `Images` (see `mdr_tune.data.dataset`). Each read decodes its images.

    `size` is their height and width in pixels, `interpolation` the filter by which they are resized, and `checked` what
    `check_images` returned for them.
    """

    cache_file = None
    dtype = torch.uint8

    def __init__(
        self, root: Path, paths: Sequence[str], size: int, checked: CheckedImages, interpolation: Interpolation
    ) -> None:
        self._root, self._paths, self._size = str(root), tuple(paths), size
        self._checked, self._interpolation = checked, interpolation

    @property
    def content(self) -> str:
        """Hash of the files' content and their paths."""
        return self._checked.content

    def first_copies(self) -> np.ndarray:
        """Return for each image the index of the first image with the same pixels (maybe itself): (n,) int64."""
        return self._checked.first_copies

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all images together, (n, 3, size, size)."""
        return (len(self._paths), 3, self._size, self._size)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        """Decode the images at `indices`, (m,) int64, on threads: (m, 3, size, size) uint8 in channels-last memory.

        It is a UserError if one of the images is corrupt or cannot be read.
        """
        files = [os.path.join(self._root, self._paths[index]) for index in indices.tolist()]
        images = np.empty((len(files), self._size, self._size, 3), dtype=np.uint8)
        try:
            read = partial(decode, size=self._size, interpolation=self._interpolation)
            with thread_map(read, files) as decoded:
                for target, pixels in zip(images, decoded, strict=True):
                    target[...] = pixels
        except CorruptImageError as error:
            raise UserError(
                f"data.corrupt: cannot decode {error}; mend or delete it, "
                "or set data.cache: true and data.corrupt: skip, which leaves out all such images"
            ) from error
        return torch.from_numpy(images).permute(0, 3, 1, 2)
