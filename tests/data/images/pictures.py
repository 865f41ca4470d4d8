"""Small picture files, and how the authors' code reads one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets.folder import default_loader

from tests.data.published.layouts import picture


def write_pictures(root: Path, number: int) -> list[str]:
    """Write that many different JPEGs in two folders, and return their paths."""
    paths = [f"{'ab'[index % 2]}/{index}.jpg" for index in range(number)]
    for index, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        picture(index).save(root / path)
    return paths


def read_as_the_authors(path: Path, size: int) -> np.ndarray:
    """Return (size, size, 3) uint8, by torchvision."""
    resize = transforms.Resize((size, size), interpolation=Image.Resampling.LANCZOS)
    return np.array(resize(default_loader(str(path))))


def expected_images(root: Path, paths: Sequence[str], size: int) -> torch.Tensor:
    """Return (n, 3, size, size) uint8, by torchvision."""
    return torch.stack([torch.from_numpy(read_as_the_authors(root / path, size)) for path in paths]).permute(0, 3, 1, 2)


def truncate(path: Path) -> None:
    """Cut a file in half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
