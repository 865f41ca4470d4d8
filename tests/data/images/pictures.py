"""Small picture files, and how the authors' code reads one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
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


def read_as_the_authors(path: Path, size: int, interpolation: str = "lanczos") -> np.ndarray:
    """Return (size, size, 3) uint8, by torchvision. The authors' filter is the default."""
    resize = transforms.Resize((size, size), interpolation=transforms.InterpolationMode(interpolation))
    return np.array(resize(default_loader(str(path))))


def expected_images(root: Path, paths: Sequence[str], size: int, interpolation: str = "lanczos") -> torch.Tensor:
    """Return (n, 3, size, size) uint8, by torchvision."""
    images = [torch.from_numpy(read_as_the_authors(root / path, size, interpolation)) for path in paths]
    return torch.stack(images).permute(0, 3, 1, 2)


def truncate(path: Path) -> None:
    """Cut a file in half."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
