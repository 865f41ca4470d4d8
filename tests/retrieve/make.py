"""Small indexes and embedders for the tests."""

from pathlib import Path

import torch

from mdr_tune.retrieve import Embedder, EmbeddingIndex, IndexInfo, read_index
from mdr_tune.retrieve.index_file import writing_index


def info(**changes: object) -> IndexInfo:
    values: dict[str, object] = {
        "model": "models:/letters/1",
        "identity": "m-1",
        "run_id": None,
        "root": "/images",
        "image_shape": (1, 32, 32),
        "resize": 32,
        "created": "2026-01-01T00:00:00+00:00",
        "version": "0",
    }
    return IndexInfo(**{**values, **changes})  # type: ignore[arg-type]


def write(file: Path, embeddings: torch.Tensor, **changes: object) -> EmbeddingIndex:
    """Write an index of the images c/0.png, c/1.png, ... of which every third has no label."""
    with writing_index(file, info(**changes), embeddings.shape[1]) as index:
        for start, part in enumerate(embeddings.split(7)):
            rows = range(7 * start, 7 * start + len(part))
            index.add([f"c/{row}.png" for row in rows], [None if row % 3 == 0 else "c" for row in rows], part)
    return read_index(file)


def embedder(image_shape: tuple[int, int, int], resize: int, size: int = 4) -> Embedder:
    """A random projection of the pixels."""
    channels, height, width = image_shape
    generator = torch.Generator().manual_seed(0)
    projection = torch.randn(channels * height * width, size, generator=generator)
    return Embedder(
        network=lambda images: images.flatten(1).float() @ projection,
        image_shape=image_shape,
        size=size,
        resize=resize,
        uri="models:/letters/1",
        identity="m-1",
    )
