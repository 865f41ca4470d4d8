"""Find images that have the same pixels as an earlier image of the data set, after decoding and resizing."""

import hashlib
from collections.abc import Hashable, Sequence

import numpy as np

from mdr_tune.data.images.image_cache import CacheFile
from mdr_tune.data.images.thread_map import thread_map


def pixel_hash(pixels: np.ndarray) -> bytes:
    """Return a 16-byte hash of `pixels`, a contiguous uint8 array."""
    return hashlib.blake2b(pixels.data, digest_size=16).digest()


def first_with(hashes: Sequence[Hashable]) -> np.ndarray:
    """Return for each of the n `hashes` the index of the first equal hash (maybe itself), (n,) int64."""
    first: dict[Hashable, int] = {}
    return np.array([first.setdefault(key, index) for index, key in enumerate(hashes)], dtype=np.int64)


def first_copies(file: CacheFile) -> np.ndarray:
    """Return for each readable image of the cache `file` the index of the first image with the same pixels, (n,) int64.

    An image without an earlier copy gets its own index. Only images with equal checksums are read.
    """
    _, group, sizes = np.unique(file.checksums, return_inverse=True, return_counts=True)
    candidates = np.flatnonzero(sizes[group] > 1)
    first = np.arange(len(file.readable))
    with thread_map(lambda row: pixel_hash(file.pixels_of(row)), file.readable[candidates].tolist()) as hashes:
        first[candidates] = candidates[first_with(list(hashes))]
    return first
