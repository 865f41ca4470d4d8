"""How the distances within a batch lay at one moment of a training: plain numbers that go from a worker to a figure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

LOW, HIGH, BINS = -5.0, 5.0, 100
"""Of the histograms, in standard deviations; what lies beyond is counted in the outermost bins."""


@dataclass(frozen=True)
class DistanceSnapshot:
    """The normalised distances z = (d - mean) / std of the last batch of an epoch, each pair counted once.

    With MDR mean and deviation are its moving averages, as the loss uses them; without, the batch's own.

    Attributes:
        epoch: After which it was taken.
        same: Pairs of one class in each of `BINS` bins from `LOW` to `HIGH`.
        different: The same of pairs of two classes.
        levels: MDR's levels then, ascending by index as the loss has them; None without MDR.
        held: For each level the share of all pairs that are nearest to it; they sum to 1.
    """

    epoch: int
    same: list[int]
    different: list[int]
    levels: list[float] | None = None
    held: list[float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DistanceSnapshot":
        """Return what `as_dict` was made of."""
        return cls(**values)
