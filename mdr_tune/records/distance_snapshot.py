"""Snapshot of the distances within a batch after one epoch, as plain numbers that a worker sends to the driver."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

LOW, HIGH, BINS = -5.0, 5.0, 100
"""Range of the histograms, in standard deviations, and number of bins. The outer bins count the distances beyond it."""


@dataclass(frozen=True)
class DistanceSnapshot:
    """Histograms of the normalised distances in the last batch of an epoch. Each pair of images counts once.

    A distance d is normalised to z = (d - mean) / std. With MDR, `mean` and `std` are the loss's moving averages.
    Without MDR, `mean` and `std` are computed from the batch.

    Attributes:
        epoch: Epoch after which the snapshot was taken.
        same: Number of pairs of images of the same class in each of `BINS` bins from `LOW` to `HIGH`.
        different: Number of pairs of images of different classes in each of the same bins.
        levels: MDR's levels after the epoch, in the loss's order, which need not ascend; None without MDR.
        held: For each level, share of all pairs whose distance is nearest to this level. Sums to 1. None without MDR.
    """

    epoch: int
    same: list[int]
    different: list[int]
    levels: list[float] | None = None
    held: list[float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the snapshot as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DistanceSnapshot":
        """Return the snapshot from the `values` that `as_dict` returned."""
        return cls(**values)
