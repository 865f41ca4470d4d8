"""How the distances of a batch lie between MDR's levels: what the report draws of a training."""

import math

import torch

from mdr_tune.metric import EmbeddingMode, MDRLoss, apply_embedding_mode
from mdr_tune.records.distance_snapshot import BINS, HIGH, LOW, DistanceSnapshot

LEAST_STD = 1e-12


def snapshot_epochs(epochs: int) -> tuple[int, ...]:
    """Return the epochs after which a snapshot is taken: the first, the middle one, the last."""
    return tuple(sorted({1, math.ceil(epochs / 2), epochs}))


@torch.no_grad()
def normalized_distances(
    embeddings: torch.Tensor, labels: torch.Tensor, mode: EmbeddingMode, mdr: MDRLoss | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return z = (d - mean) / std of all pairs of a batch, each once, and which are of one class.

    Args:
        embeddings: (N, D), raw, of the global batch.
        labels: (N,).
        mode: What training makes of the embeddings before the losses see them.
        mdr: Whose moving averages normalise; None: mean and deviation of the batch, as MDR's first step would take
            them, over the whole matrix with its zeros.

    Returns:
        (N (N - 1) / 2,) twice: float, and bool.
    """
    seen = apply_embedding_mode(embeddings, mode).double()
    distances = torch.cdist(seen, seen, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(0)
    mean, std = (mdr.mean, mdr.std) if mdr is not None else (distances.mean(), distances.std())
    first, second = torch.triu_indices(len(seen), len(seen), 1, device=seen.device)
    return (distances[first, second] - mean) / std.clamp(min=LEAST_STD), labels[first] == labels[second]


def held_shares(z: torch.Tensor, levels: torch.Tensor) -> list[float]:
    """Return for each level the share of the pairs that are nearest to it; a pair between two is the lower one's.

    Args:
        z: (P,), the normalised distances.
        levels: (L,), in any order.
    """
    ascending, order = levels.to(z.dtype).sort()
    nearest = order[torch.bucketize(z, (ascending[1:] + ascending[:-1]) / 2)]
    shares: list[float] = (torch.bincount(nearest, minlength=len(levels)).double() / len(z)).tolist()
    return shares


def take_snapshot(epoch: int, z: torch.Tensor, same: torch.Tensor, mdr: MDRLoss | None) -> DistanceSnapshot:
    """Return the histograms of a batch after an epoch; arguments as `normalized_distances` returns them."""
    places = ((z - LOW) / (HIGH - LOW) * BINS).floor().long().clamp(0, BINS - 1)
    of_same, of_different = (torch.bincount(places[kind], minlength=BINS).tolist() for kind in (same, ~same))
    if mdr is None:
        return DistanceSnapshot(epoch, of_same, of_different)
    levels = mdr.levels.detach()
    return DistanceSnapshot(epoch, of_same, of_different, levels.tolist(), held_shares(z, levels))
