"""Compare two runs of one trial number by number: whether they are bit-identical, and where they begin to differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mdr_tune.records.metrics import is_compared
from mdr_tune.util.words import count


@dataclass(frozen=True)
class Difference:
    """The difference of one metric between two runs.

    Attributes:
        first_epoch: First epoch at which the values differ.
        largest: Largest absolute difference; infinite if only one of the runs has a finite value at an epoch.
        epoch: Epoch of the largest difference.
        then: Value of the first run at `epoch`; None if it has none.
        now: Value of the second run at `epoch`; None if it has none.
    """

    metric: str
    first_epoch: int
    largest: float
    epoch: int
    then: float | None
    now: float | None


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two runs. `epochs` and `values` are the numbers of epochs and of values compared.

    `differences` has an entry for each metric that differs, by the first epoch at which it differs, then by size, the
    largest first.
    """

    epochs: int
    values: int
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether all numbers are bit-identical; false if there is no number to compare."""
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
    """Compare the histories of two runs, `then` and `now`, at the epochs that both have.

    A history has a mapping for each epoch: the epoch's number under `epoch`, and each metric under its name. A value
    that is not finite counts as missing, since MLflow's store may not keep it. Metrics that depend on the machine are
    left out, see `records.metrics.is_compared`.
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
