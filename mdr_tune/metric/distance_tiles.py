"""Compute the upper half of a batch's distance matrix in tiles, without holding all N x N distances.

A tile is either a square on the diagonal or a strip to the right of such a square. A square has weight 1, since it
holds both orders of each of its pairs. A strip has weight 2, since each of its entries also stands for its mirror
image. If the batch is compared with references too, such as embeddings of earlier batches, further tiles hold the
distances of the whole batch to some references; these tiles have weight 1. Nothing here is differentiable.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mdr_tune.metric.distance import SQUARED_DISTANCE_FLOOR
from mdr_tune.metric.transfer import send

Statistics = Literal["official", "offdiagonal"]

# Number of rows of a tile. On a CPU a strip and its temporaries should stay in the cache; elsewhere a few large kernels
# are faster.
_TILE_ROWS_CPU = 512
_TILE_ROWS_ACCELERATOR = 2048


@dataclass
class DistanceTile:
    """A tile of the distance matrix: distances between the embeddings `rows` and the embeddings `columns`.

    The columns are references if `to_references` is true.
    """

    rows: slice
    columns: slice
    distances: Tensor  # (rows, columns), contiguous
    is_diagonal: bool  # a square on the diagonal, whose own diagonal holds no pairs
    to_references: bool = False

    @property
    def weight(self) -> int:
        """Number of entries of the whole matrix that each entry of the tile stands for."""
        return 1 if self.is_diagonal or self.to_references else 2


def distance_tiles(
    embeddings: Tensor, tile_rows: int | None = None, references: Tensor | None = None
) -> list[DistanceTile]:
    """Return the upper half of the distance matrix of `embeddings` (N, D) in tiles of `tile_rows` rows.

    The squares on the diagonal come first, with zeros on their own diagonal, then the strips. Distances are computed by
    the formula of `pairwise_distances`, with autocast switched off. None as `tile_rows` chooses a number that is fast
    on the device.

    With `references` (R, D), further tiles of `tile_rows` columns follow, with the distances of all embeddings to them.
    """
    if tile_rows is None:
        tile_rows = _TILE_ROWS_CPU if embeddings.device.type == "cpu" else _TILE_ROWS_ACCELERATOR
    with torch.autocast(embeddings.device.type, enabled=False):
        tiles = _distance_tiles(embeddings, tile_rows)
        if references is not None:
            everything, squared_norms = slice(0, len(embeddings)), embeddings.square().sum(dim=1)
            for start in range(0, len(references), tile_rows):
                columns = slice(start, min(start + tile_rows, len(references)))
                distances = _to_references(embeddings, references[columns], squared_norms)
                tiles.append(DistanceTile(everything, columns, distances, is_diagonal=False, to_references=True))
    return tiles


def distances_to_references(embeddings: Tensor, references: Tensor) -> Tensor:
    """Return the distances (N, R) of `embeddings` (N, D) to `references` (R, D), with autocast switched off."""
    with torch.autocast(embeddings.device.type, enabled=False):
        return _to_references(embeddings, references, embeddings.square().sum(dim=1))


def _to_references(embeddings: Tensor, references: Tensor, squared_norms: Tensor) -> Tensor:
    return _distances_in_place(embeddings @ references.t(), squared_norms, references.square().sum(dim=1))


def _distance_tiles(embeddings: Tensor, tile_rows: int) -> list[DistanceTile]:
    blocks = embeddings.split(tile_rows)
    starts = range(0, len(embeddings), tile_rows)
    tiles, squared_norms = [], []
    for block, start in zip(blocks, starts, strict=True):
        products = block @ block.t()
        # Read off the products instead of summed anew, which saves one pass over the embeddings.
        squared_norms.append(products.diagonal().clone())
        distances = _distances_in_place(products, squared_norms[-1], squared_norms[-1]).fill_diagonal_(0.0)
        rows = slice(start, start + len(block))
        tiles.append(DistanceTile(rows, rows, distances, is_diagonal=True))
    for number, (block, start) in enumerate(zip(blocks[:-1], starts, strict=False)):
        rows, columns = slice(start, start + len(block)), slice(start + len(block), len(embeddings))
        distances = _distances_in_place(
            block @ embeddings[columns].t(), squared_norms[number], torch.cat(squared_norms[number + 1 :])
        )
        tiles.append(DistanceTile(rows, columns, distances, is_diagonal=False))
    return tiles


def _distances_in_place(products: Tensor, row_squares: Tensor, column_squares: Tensor) -> Tensor:
    squared = torch.sub(row_squares[:, None], products, alpha=2, out=products).add_(column_squares)
    return squared.clamp_(min=SQUARED_DISTANCE_FLOOR).sqrt_()


def tile_statistics(tiles: list[DistanceTile], statistics: Statistics) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased standard deviation of a distance matrix, of shape () and in the embeddings' units.

    The means and variances of the tiles are combined by the formula of Chan et al. (1983), which avoids cancellation.

    Args:
        tiles: the matrix, from `distance_tiles`. `offdiagonal` overwrites their diagonal entries.
        statistics: `official` counts all N * N entries, including the N zeros of the diagonal, as the authors' code
            does. `offdiagonal` leaves the diagonal out and counts N * (N - 1) entries. Both also count the N * R
            distances to references, if there are some.
    """
    if len(tiles) == 1 and statistics == "official":
        return tiles[0].distances.mean(), tiles[0].distances.std()
    means, sums_of_squares = [], []
    for tile in tiles:
        distances = tile.distances
        mean = distances.sum() / max(_counted_entries(tile, statistics), 1)
        if statistics == "offdiagonal" and tile.is_diagonal:
            # Diagonal entries that are set to the mean add nothing to the sum of squared deviations.
            distances.diagonal().copy_(mean)
        means.append(mean)
        sums_of_squares.append(distances.var(correction=0) * (distances.numel() * tile.weight))
    entries = [_counted_entries(tile, statistics) * tile.weight for tile in tiles]
    total = sum(entries)
    tile_means = torch.stack(means)
    shares = send(torch.tensor([count / total for count in entries], dtype=tile_means.dtype), tile_means.device)
    mean = (shares * tile_means).sum()
    within = torch.stack(sums_of_squares).sum() / total
    between = (shares * (tile_means - mean).square()).sum()
    return mean, ((within + between) * (total / (total - 1))).sqrt()


def _counted_entries(tile: DistanceTile, statistics: Statistics) -> int:
    entries = tile.distances.numel()
    if statistics == "offdiagonal" and tile.is_diagonal:
        entries -= len(tile.distances)
    return entries
