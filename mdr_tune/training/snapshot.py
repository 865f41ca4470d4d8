"""Take snapshots during a training, for the report: how the distances of a batch lie around MDR's levels."""

import math

import torch

from mdr_tune.metric import EmbeddingMode, MDRLoss, apply_embedding_mode
from mdr_tune.records.distance_snapshot import BINS, HIGH, LOW, DistanceSnapshot

LEAST_STD = 1e-12


def snapshot_epochs(epochs: int) -> tuple[int, ...]:
    """Return the epochs, from 1, after which a trial of `epochs` epochs has a snapshot: first, middle and last."""
    return tuple(sorted({1, math.ceil(epochs / 2), epochs}))


@torch.no_grad()
def normalized_distances(
    embeddings: torch.Tensor, labels: torch.Tensor, mode: EmbeddingMode, mdr: MDRLoss | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the normalised distance z = (d - mean) / std of each pair of a batch, and whether its classes are equal.

    z is float64, the second result bool; both are (N (N - 1) / 2,), with each pair once.

    Args:
        embeddings: (N, D), raw embeddings of the global batch.
        labels: (N,), their classes.
        mode: Embedding mode that training applies before the losses.
        mdr: The MDR loss whose moving averages are `mean` and `std`. If None, `mean` and `std` are those of the batch's
            whole distance matrix, including the zeros of its diagonal. MDR's first step uses the same by default.
    """
    seen = apply_embedding_mode(embeddings, mode).double()
    distances = torch.cdist(seen, seen, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(0)
    mean, std = (mdr.mean, mdr.std) if mdr is not None else (distances.mean(), distances.std())
    first, second = torch.triu_indices(len(seen), len(seen), 1, device=seen.device)
    return (distances[first, second] - mean) / std.clamp(min=LEAST_STD), labels[first] == labels[second]


def held_shares(z: torch.Tensor, levels: torch.Tensor) -> list[float]:
    """Return, for each of the `levels` (L,), the share of the distances `z` (P,) that are nearest to it.

    A pair that is equally far from two levels counts for the lower one. The shares are in the order of the levels.
    """
    ascending, order = levels.to(z.dtype).sort()
    nearest = order[torch.bucketize(z, (ascending[1:] + ascending[:-1]) / 2)]
    shares: list[float] = (torch.bincount(nearest, minlength=len(levels)).double() / len(z)).tolist()
    return shares


def take_snapshot(epoch: int, z: torch.Tensor, same: torch.Tensor, mdr: MDRLoss | None) -> DistanceSnapshot:
    """Return the snapshot after `epoch` (from 1): histograms of a batch's distances, MDR's levels and their shares.

    `z` (P,) and `same` (P,) are results of `normalized_distances`. `mdr` is None if the trial has no MDR.
    """
    places = ((z - LOW) / (HIGH - LOW) * BINS).floor().long().clamp(0, BINS - 1)
    of_same, of_different = (torch.bincount(places[kind], minlength=BINS).tolist() for kind in (same, ~same))
    if mdr is None:
        return DistanceSnapshot(epoch, of_same, of_different)
    levels = mdr.levels.detach()
    return DistanceSnapshot(epoch, of_same, of_different, levels.tolist(), held_shares(z, levels))
