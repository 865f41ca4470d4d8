"""Rows of an ablation that are hardly better than chance: what is compared there are trainings that learned nothing."""

from collections.abc import Sequence

import numpy as np

from mdr_tune.records.query_details import TestDetails
from mdr_tune.report.ablation_table import TableRow
from mdr_tune.report.output.texts import number, row_title

METRIC = "test/recall_at_1"
NEAR = 3.0
"""Times the chance level: below that a mean is called near it."""
NAMED = 3
"""Rows named in the note; of more the number is said."""


def chance_recall(labels: np.ndarray) -> float:
    """Return Recall@1 of a retrieval in random order, in percent.

    The nearest of the n - 1 other images is of the query's class, which has R others, with probability R / (n - 1).

    Args:
        labels: (n,), the class of each query; every query is in the gallery of the others.
    """
    _, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return float(100.0 * np.mean(sizes[place] - 1) / max(len(labels) - 1, 1))


def near_chance(rows: Sequence[TableRow], details: dict[str, TestDetails]) -> list[str]:
    """Return the note on rows whose mean test Recall@1 is below three times the chance level; none if there is none.

    Args:
        details: By trial name; a row without has no chance level.
    """
    found = []
    for row in rows:
        labels = next((details[trial].labels for trial in row.trials.values() if trial in details), None)
        if labels is not None and METRIC in row.estimates:
            chance = chance_recall(labels)
            if row.estimates[METRIC].mean < NEAR * chance:
                found.append((row, chance))
    if not found:
        return []
    named = "; ".join(f"{row.name} ({row_title(row)})" for row, _ in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return [
        f"Near chance: the mean test Recall@1 of {named}{more} is below {NEAR:g} times what a random order gives "
        f"({number(found[0][1])} percent), so that a difference to such a row says little."
    ]
