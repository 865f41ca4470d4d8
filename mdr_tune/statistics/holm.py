"""Correction of p-values where several tests are made at once."""

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values corrected by Holm's step-down method, in the order given.

    Call every difference real whose corrected p is at most 0.05. Then the chance that any of them is not real is at
    most 5 %, however the tests depend on each other. Of m tests, the k-th smallest p is multiplied by m - k + 1, raised
    to the corrected p before it if that is larger, and limited to 1. A p of None, for a test that could not be made,
    stays None and does not count among the m.

    Raises:
        ValueError: A p-value is not in [0, 1].

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 1979.
    """
    family = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for before, (p, place) in enumerate(family):
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"a p-value lies in 0 to 1, got {p}")
        largest = max(largest, min(1.0, p * (len(family) - before)))
        corrected[place] = largest
    return corrected
