"""Compute MDR's loss, the mean distance of pairs to their nearest level, and its gradient in one pass.

A direct implementation makes tensors of L x N x N numbers, which autograd keeps. Here the distance matrix is processed
tile by tile (see `distance_tiles`), and each tile only once. While a tile is in the cache, three things are computed:
the tile's share of the loss, its share of the levels' gradient, and the pull of each of its pairs. The pull of a pair
is +1 if its nearest level is at a larger distance, -1 if at a smaller one, and 0 if the pair is on the level. The
pulls, divided by the distances, are kept for the backward pass, which multiplies them with the embeddings. The
distances are not kept.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdr_tune.metric.distance import SQUARED_DISTANCE_FLOOR
from mdr_tune.metric.distance_tiles import DistanceTile


def mean_distance_to_nearest_level(
    embeddings: Tensor,
    levels: Tensor,
    tiles: list[DistanceTile],
    mean: Tensor,
    std: Tensor,
    references: Tensor | None = None,
) -> Tensor:
    """Return the mean over i != j of min_k |(d_ij - mean) / std - s_k|, of shape (), in standard deviations.

    A pair that is equally far from two levels counts for the lower one. If levels are equal, their pairs count for the
    first of them. The gradient is 0 for a pair that lies on a level, and for a pair whose squared distance is at or
    below 1e-12. `mean` and `std` are treated as constants. Second derivatives are not supported.
    Source: equation of the MDR loss, Kim & Park (AAAI 2021).

    Args:
        embeddings: (N, D).
        levels: (L,), in standard deviations from the mean, in any order.
        tiles: result of `distance_tiles` for `embeddings` and `references`. The tiles are overwritten and removed from
            the list.
        mean: (), the number that is subtracted from the distances, in their units.
        std: (), the number that the differences are divided by, in the units of the distances, above 0.
        references: (R, D) or None. With references, j runs over them as well, and the mean is over N * (N - 1 + R)
            ordered pairs. References get no gradient.
    """
    loss: Tensor = _MeanDistanceToNearestLevel.apply(embeddings, levels, tiles, mean, std, references)
    return loss


class _MeanDistanceToNearestLevel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        embeddings: Tensor,
        levels: Tensor,
        tiles: list[DistanceTile],
        mean: Tensor,
        std: Tensor,
        references: Tensor | None,
    ) -> Tensor:
        sorted_levels, order = levels.sort(stable=True)
        targets = torch.addcmul(mean, std, sorted_levels)  # (L,), the levels as distances
        midpoints = torch.lerp(targets[:-1], targets[1:], 0.5)  # (L - 1,)
        thresholds = _Thresholds(targets.unbind(), midpoints.unbind())
        sums = embeddings.new_zeros(len(levels) + 1)
        places, coefficients = [], []
        tiles.reverse()
        while tiles:
            tile = tiles.pop()
            pulls, tile_sums = _visit(tile, thresholds)
            sums.add_(tile_sums, alpha=tile.weight)
            if ctx.needs_input_grad[0]:
                places.append((tile.rows, tile.columns, tile.to_references))
                coefficients.append(_coefficients(tile, pulls))
            del tile, pulls  # free their memory before the next tile needs some
        pairs = len(embeddings) * (len(embeddings) - 1 + (0 if references is None else len(references)))
        scale = (pairs * std).reciprocal_()
        level_gradient = _level_gradient(sums[1:], sorted_levels, order) if ctx.needs_input_grad[1] else None
        ctx.save_for_backward(embeddings, references, level_gradient, scale, *coefficients)
        ctx.places, ctx.pairs = places, pairs
        return sums[0] * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        embeddings, references, level_gradient, scale, *coefficients = ctx.saved_tensors
        embedding_gradient = None
        if coefficients:
            embedding_gradient = torch.empty_like(embeddings)
            for (rows, columns, to_references), matrix in zip(ctx.places, coefficients, strict=True):
                if to_references:
                    embedding_gradient.addcmul_(matrix.sum(dim=1, keepdim=True), embeddings, value=-1)
                    embedding_gradient.addmm_(matrix, references[columns])
                else:
                    _put_embedding_gradient(embedding_gradient, embeddings, rows, columns, matrix)
            embedding_gradient.mul_(scale * loss_gradient)
        if level_gradient is not None:
            level_gradient = level_gradient * (loss_gradient / ctx.pairs)
        return embedding_gradient, level_gradient, None, None, None, None


@dataclass
class _Thresholds:
    targets: tuple[Tensor, ...]  # L distances (), ascending
    midpoints: tuple[Tensor, ...]  # L - 1 distances (), halfway between neighbouring targets


def _visit(tile: DistanceTile, thresholds: _Thresholds) -> tuple[Tensor, Tensor]:
    """Return the pulls of `tile`, sign(nearest target - distance), and 1 + L sums over the tile.

    The first sum adds up |nearest target - distance|. The other L sums belong to the sorted levels, whose targets and
    midpoints are `thresholds`. The sum of a level adds up the pulls of all pairs whose nearest level is this level or a
    higher one. The tile is passed over many times, but each pass is vectorised and stays within the cache.
    `torch.bucketize` and a look-up need only two passes, but take four times as long on a CPU.
    """
    distances = tile.distances
    nearest, beyond = torch.empty_like(distances), torch.empty_like(distances)
    nearest.copy_(thresholds.targets[0])
    for midpoint, target in zip(thresholds.midpoints, thresholds.targets[1:], strict=True):
        # With weights of 0 and 1 an interpolation is exactly a choice.
        nearest.lerp_(target, torch.gt(distances, midpoint, out=beyond))
    pulls = nearest.sub_(distances)
    if tile.is_diagonal:
        pulls.fill_diagonal_(0.0)
    sums = [torch.abs(pulls, out=beyond).sum(), pulls.sign_().sum()]
    flat_pulls, flat_beyond = pulls.view(-1), beyond.view(-1)
    for midpoint in thresholds.midpoints:
        torch.gt(distances, midpoint, out=beyond)
        sums.append(torch.dot(flat_pulls, flat_beyond))
    return pulls, torch.stack(sums)


def _coefficients(tile: DistanceTile, pulls: Tensor) -> Tensor:
    """Return the matrix of `tile` that the backward pass multiplies with embeddings, (rows, columns).

    For a strip the matrix is C = pull / distance; it is multiplied with differences of embeddings. For a diagonal tile
    the matrix is C + C^T, with the sum of each row subtracted on the diagonal; it is multiplied with the embeddings
    themselves. `pulls` and the tile's distances are overwritten.
    """
    # Clamped distances and the diagonal become infinite, so that their coefficients are 0.
    floor = _distance_floor(tile.distances.dtype)
    coefficients = pulls.div_(torch.threshold_(tile.distances, floor, math.inf))
    if not tile.is_diagonal:
        return coefficients
    # A matrix product may round e_i e_j and e_j e_i differently, so the two orders of a pair may differ.
    laplacian = torch.add(coefficients, coefficients.t(), out=tile.distances)
    laplacian.diagonal().sub_(laplacian.sum(dim=1))
    return laplacian


def _put_embedding_gradient(
    gradient: Tensor, embeddings: Tensor, rows: slice, columns: slice, coefficients: Tensor
) -> None:
    """Put the gradient from the pairs of a tile into `gradient`. `coefficients` is the result of `_coefficients`.

    The pairs are those of embeddings in `rows` with embeddings in `columns`. The gradient of embedding i is the sum of
    pull_ij * (e_j - e_i) / d_ij over both orders of each pair. A diagonal tile overwrites its rows of `gradient`. A
    strip adds to the rows of both its sides, so that strips have to come after the diagonal tiles.
    """
    own, other = embeddings[rows], embeddings[columns]
    if rows == columns:
        torch.mm(coefficients, own, out=gradient[rows])
        return
    for side, matrix, near, far in (
        (rows, coefficients, own, other),
        (columns, coefficients.t(), other, own),
    ):
        gradient[side].addcmul_(matrix.sum(dim=1, keepdim=True), near, value=-2).addmm_(matrix, far, alpha=2)


@cache
def _distance_floor(dtype: torch.dtype) -> float:
    """Return the root of `SQUARED_DISTANCE_FLOOR`, rounded in `dtype`."""
    return torch.tensor(SQUARED_DISTANCE_FLOOR, dtype=dtype).sqrt().item()


def _level_gradient(pulls_from: Tensor, sorted_levels: Tensor, order: Tensor) -> Tensor:
    """Return the sum of the pulls at each level, (L,), in the order of the parameter `levels`.

    `pulls_from` (L,) has, for each of the `sorted_levels` (L,), ascending, the sum of the pulls at this level and at
    higher ones. `order` (L,) has the index of each sorted level in the parameter `levels`.
    """
    pulls_at = pulls_from.clone()
    pulls_at[:-1].sub_(pulls_from[1:])
    # A level of NaN is found nowhere. The clamp keeps its index valid; the loss is NaN anyway.
    first_of_equals = torch.searchsorted(sorted_levels, sorted_levels).clamp_(max=len(order) - 1)
    return torch.zeros_like(pulls_at).index_add_(0, order[first_of_equals], pulls_at)
