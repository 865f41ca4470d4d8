"""Vectors that are read by index, as images are, from a file that all processes of a machine map into memory."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from mdr_tune.util.files import atomic_write


class Vectors:
    """The n vectors of F numbers in a file that `write_vectors` wrote, as `Images`.

    A vector is read as an image of one row, (1, 1, F) float32, so that all code that reads images can read vectors.

    Raises:
        ValueError: the file holds no float32 array (n, F).
        OSError: the file cannot be read.
    """

    dtype = torch.float32

    def __init__(self, file: Path) -> None:
        self._numbers: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
        if self._numbers.ndim != 2 or self._numbers.dtype != np.float32:
            raise ValueError(f"{file} holds no float32 (n, F)")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all vectors together, (n, 1, 1, F)."""
        count, size = self._numbers.shape
        return (count, 1, 1, size)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        """Return a copy of the vectors at `indices`, (m,) int64, as (m, 1, 1, F) float32 on the CPU."""
        return torch.from_numpy(self._numbers[indices.numpy()])[:, None, None, :]


def write_vectors(file: Path, count: int, size: int, blocks: Iterable[np.ndarray]) -> None:
    """Write the `count` vectors of `size` numbers in `blocks`, arrays (m, size), to `file`, in numpy's format npy.

    The file appears only when it is complete. Raise ValueError if `blocks` do not have `count` vectors together.
    """
    written = 0
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype("<f4")), "fortran_order": False, "shape": (count, size)}
    with atomic_write(file) as opened:
        np.lib.format.write_array_header_1_0(opened, header)
        for block in blocks:
            opened.write(np.ascontiguousarray(block, dtype="<f4").data)
            written += len(block)
        if written != count:
            raise ValueError(f"{written} vectors were given, not {count}")
