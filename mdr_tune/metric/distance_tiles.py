"""The distance matrix of a batch as the tiles of its upper half, for work that must not hold N x N floats.

A tile is either square, on the diagonal (weight 1: it holds both orders of each of its pairs), or a strip to
the right of one (weight 2: each entry stands for its mirror image too). No gradient is recorded here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mdr_tune.metric.distance import SQUARED_DISTANCE_FLOOR

Statistics = Literal["official", "offdiagonal"]

# Rows of a tile. On a CPU a strip and its temporaries should stay in the cache; elsewhere few large kernels
# win.
_TILE_ROWS_CPU = 512
_TILE_ROWS_ACCELERATOR = 2048


@dataclass
class DistanceTile:
    """Distances between the embeddings `rows` and the embeddings `columns`."""

    rows: slice
    columns: slice
    distances: Tensor  # (rows, columns), contiguous
    is_diagonal: bool  # a square on the diagonal, whose own diagonal holds no pairs

    @property
    def weight(self) -> int:
        """How many entries of the N x N matrix each entry of the tile stands for."""
        return 1 if self.is_diagonal else 2


def distance_tiles(embeddings: Tensor, tile_rows: int | None = None) -> list[DistanceTile]:
    """Compute the upper half of the distance matrix in tiles; the same formula as `pairwise_distances`.

    Args:
        embeddings: (N, D).
        tile_rows: rows of a tile; None chooses by the device.

    Returns:
        The tiles, from the top down; their diagonal entries are 0.
    """
    if tile_rows is None:
        tile_rows = _TILE_ROWS_CPU if embeddings.device.type == "cpu" else _TILE_ROWS_ACCELERATOR
    squared_norms = torch.linalg.vector_norm(embeddings, dim=1).square_()  # (N,)
    tiles = []
    for rows, columns in _tile_slices(len(embeddings), tile_rows):
        distances = squared_norms[rows, None] + squared_norms[None, columns]
        distances.addmm_(embeddings[rows], embeddings[columns].t(), alpha=-2)
        distances.clamp_(min=SQUARED_DISTANCE_FLOOR).sqrt_()
        is_diagonal = rows == columns
        if is_diagonal:
            distances.fill_diagonal_(0.0)
        tiles.append(DistanceTile(rows, columns, distances, is_diagonal))
    return tiles


def tile_statistics(tiles: list[DistanceTile], statistics: Statistics) -> tuple[Tensor, Tensor]:
    """Return the mean and the unbiased standard deviation of the distance matrix that `tiles` is the half of.

    `official` counts all N * N entries, the N zeros of the diagonal included (what the authors' code does);
    `offdiagonal` the N * (N - 1) others. With `offdiagonal` the diagonal entries of the tiles are
    overwritten. The tiles' own moments are combined by Chan et al. (1983), so nothing is lost to
    cancellation.

    Returns:
        Two tensors of shape (), in the units of the embeddings.
    """
    if len(tiles) == 1 and statistics == "official":
        return tiles[0].distances.mean(), tiles[0].distances.std()
    means, sums_of_squares = [], []
    for tile in tiles:
        distances = tile.distances
        mean = distances.sum() / max(_counted_entries(tile, statistics), 1)
        if statistics == "offdiagonal" and tile.is_diagonal:
            # On their mean, the diagonal entries add nothing to the sum of squared deviations.
            distances.diagonal().copy_(mean)
        means.append(mean)
        sums_of_squares.append(distances.var(correction=0) * (distances.numel() * tile.weight))
    entries = [_counted_entries(tile, statistics) * tile.weight for tile in tiles]
    total = sum(entries)
    shares = means[0].new_tensor([count / total for count in entries])
    tile_means = torch.stack(means)
    mean = (shares * tile_means).sum()
    within = torch.stack(sums_of_squares).sum() / total
    between = (shares * (tile_means - mean).square()).sum()
    return mean, ((within + between) * (total / (total - 1))).sqrt()


def _counted_entries(tile: DistanceTile, statistics: Statistics) -> int:
    entries = tile.distances.numel()
    if statistics == "offdiagonal" and tile.is_diagonal:
        entries -= len(tile.distances)
    return entries


def _tile_slices(count: int, tile_rows: int) -> Iterator[tuple[slice, slice]]:
    for start in range(0, count, tile_rows):
        stop = min(start + tile_rows, count)
        yield slice(start, stop), slice(start, stop)
        if stop < count:
            yield slice(start, stop), slice(stop, count)
