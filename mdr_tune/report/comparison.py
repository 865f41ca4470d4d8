"""Two runs of one trial, number by number: are they equal to the bit, and if not, where do they part?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mdr_tune.records.metrics import is_compared
from mdr_tune.util.words import count


@dataclass(frozen=True)
class Difference:
    """Where one metric of two runs differs.

    Attributes:
        first_epoch: The first epoch at which it does.
        largest: The largest absolute difference; infinite where one run has a finite number and the other none.
        epoch: Where that is.
        then: The value there in the first run; None if it has none.
        now: And in the second.
    """

    metric: str
    first_epoch: int
    largest: float
    epoch: int
    then: float | None
    now: float | None


@dataclass(frozen=True)
class Comparison:
    """What became of it.

    Attributes:
        epochs: How many were compared.
        values: How many numbers were compared.
        differences: A line each metric that differs, the one that parted first, first; then by size.
    """

    epochs: int
    values: int
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether all numbers are equal to the bit, and there were some."""
        return self.values > 0 and not self.differences

    def describe(self) -> str:
        """Return the result in one sentence."""
        if self.values == 0:
            return "Nothing to compare: the two have no number in common."
        if self.equal:
            return f"Equal to the bit: {self.values:,} numbers over {count(self.epochs, 'epoch')}."
        largest, first = max(self.differences, key=lambda d: d.largest), self.differences[0]
        how = "present in one of the two only" if math.isinf(largest.largest) else f"by {largest.largest:.3g}"
        return (
            f"Different from epoch {first.first_epoch} on, the most in {largest.metric}: {how} at epoch "
            f"{largest.epoch}, of {self.values:,} numbers over {count(self.epochs, 'epoch')}."
        )


def compare(then: Sequence[Mapping[str, float]], now: Sequence[Mapping[str, float]]) -> Comparison:
    """Compare two histories, an entry an epoch, each with `epoch`; the epochs that both have.

    A number that is not finite counts as none, since a store may not keep it. Metrics of the machine are left out.
    """
    old, new = _by_epoch(then), _by_epoch(now)
    epochs = sorted(set(old) & set(new))
    found: dict[str, Difference] = {}
    values = 0
    for epoch in epochs:
        for metric in {**old[epoch], **new[epoch]}:
            a, b = old[epoch].get(metric), new[epoch].get(metric)
            values += 1
            if a != b:
                size = abs(a - b) if a is not None and b is not None else math.inf
                before = found.get(metric)
                if before is None or size > before.largest:
                    first = before.first_epoch if before else epoch
                    found[metric] = Difference(metric, first, size, epoch, a, b)
    ordered = sorted(found.values(), key=lambda d: (d.first_epoch, -d.largest, d.metric))
    return Comparison(len(epochs), values, tuple(ordered))


def _by_epoch(history: Sequence[Mapping[str, float]]) -> dict[int, dict[str, float]]:
    return {
        int(entry["epoch"]): {
            key: value for key, value in entry.items() if key != "epoch" and is_compared(key) and math.isfinite(value)
        }
        for entry in history
    }
