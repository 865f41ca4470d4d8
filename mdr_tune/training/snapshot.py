"""Take snapshots during a training, for the report.

A snapshot shows how the distances of a batch lie around MDR's levels.
"""

import math

import torch

from mdr_tune.metric import EmbeddingMode, MDRLoss, apply_embedding_mode
from mdr_tune.records.distance_snapshot import BINS, HIGH, LOW, DistanceSnapshot

LEAST_STD = 1e-12


def snapshot_epochs(epochs: int) -> tuple[int, ...]:
    """Return the epochs after which a snapshot is taken: the first, the middle and the last one, counted from 1.

    `epochs` is the number of epochs of the trial.
    """
    return tuple(sorted({1, math.ceil(epochs / 2), epochs}))


@torch.no_grad()
def normalized_distances(
    embeddings: torch.Tensor, labels: torch.Tensor, mode: EmbeddingMode, mdr: MDRLoss | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the normalised distance z = (d - mean) / std of each pair of a batch, and whether its classes are equal.

    Args:
        embeddings: (N, D), raw embeddings of the global batch.
        labels: (N,), their classes.
        mode: Embedding mode that training applies before the losses.
        mdr: The MDR loss whose moving averages are `mean` and `std`. If None, `mean` and `std` are those of the batch's
            whole distance matrix, including the zeros of its diagonal. MDR's first step uses the same by default.

    Returns:
        z, (N (N - 1) / 2,) float64, each pair once; and (N (N - 1) / 2,) bool, True for pairs of equal classes.
    """
    seen = apply_embedding_mode(embeddings, mode).double()
    distances = torch.cdist(seen, seen, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(0)
    mean, std = (mdr.mean, mdr.std) if mdr is not None else (distances.mean(), distances.std())
    first, second = torch.triu_indices(len(seen), len(seen), 1, device=seen.device)
    return (distances[first, second] - mean) / std.clamp(min=LEAST_STD), labels[first] == labels[second]


def held_shares(z: torch.Tensor, levels: torch.Tensor) -> list[float]:
    """Return, for each level, the share of the pairs that are nearest to it.

    A pair that is equally far from two levels counts for the lower one.

    Args:
        z: (P,), normalised distances.
        levels: (L,), in any order. The shares are returned in the same order.
    """
    ascending, order = levels.to(z.dtype).sort()
    nearest = order[torch.bucketize(z, (ascending[1:] + ascending[:-1]) / 2)]
    shares: list[float] = (torch.bincount(nearest, minlength=len(levels)).double() / len(z)).tolist()
    return shares


def take_snapshot(epoch: int, z: torch.Tensor, same: torch.Tensor, mdr: MDRLoss | None) -> DistanceSnapshot:
    """Return the snapshot of a batch after an epoch: histograms of its distances, and MDR's levels with their shares.

    Args:
        epoch: Number of the epoch, from 1.
        z: (P,), normalised distances, as `normalized_distances` returns them.
        same: (P,) bool, whether the two embeddings of each pair are of the same class.
        mdr: The MDR loss; None if the trial has none.
    """
    places = ((z - LOW) / (HIGH - LOW) * BINS).floor().long().clamp(0, BINS - 1)
    of_same, of_different = (torch.bincount(places[kind], minlength=BINS).tolist() for kind in (same, ~same))
    if mdr is None:
        return DistanceSnapshot(epoch, of_same, of_different)
    levels = mdr.levels.detach()
    return DistanceSnapshot(epoch, of_same, of_different, levels.tolist(), held_shares(z, levels))
