"""Read the images of a cache file as the images of a data set."""

from pathlib import Path

import numpy as np
import torch

from mdr_tune.data.images.copies import first_copies
from mdr_tune.data.images.image_cache import CacheFile


class CachedImages:
    """The images of the cache file `file` as `Images` (see `mdr_tune.data.dataset`), in the order of its rows.

    Rows without an image, because their file could not be decoded, are left out.
    """

    dtype = torch.uint8

    def __init__(self, file: CacheFile) -> None:
        self._file = file

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all images together, (n, 3, size, size)."""
        size = self._file.metadata.size_px
        return (len(self), 3, size, size)

    @property
    def content(self) -> str:
        """Hash of the files' content, their paths, the size of the images, and the versions of the decoders."""
        return self._file.metadata.key

    @property
    def cache_file(self) -> Path:
        """Path of the cache file."""
        return self._file.path

    def first_copies(self) -> np.ndarray:
        """Return for each image the index of the first image with the same pixels (maybe itself): (n,) int64."""
        return first_copies(self._file)

    def __len__(self) -> int:
        return len(self._file.readable)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        """Return a copy of the images at `indices`, (m,) int64, as (m, 3, size, size) uint8 in channels-last memory.

        The images have this layout in the file, and torchvision's resize and convolutions are fastest with it.
        """
        rows = self._file.readable[indices.numpy()].tolist()
        size = self._file.metadata.size_px
        images = np.empty((len(rows), size, size, 3), dtype=np.uint8)
        self._file.copy_rows(rows, images)
        return torch.from_numpy(images).permute(0, 3, 1, 2)
