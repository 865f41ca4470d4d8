"""The table of an ablation: what its rows are made of. Computed in `ablation.py`, written and drawn by others."""

from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["better", "worse", "not separated", "not known"]
"""Of a row beside its baseline. `not separated`: the interval of the difference holds 0, or the corrected p is above
0.05; `not known`: fewer than two seeds in common, or differences without any spread to judge them by."""


@dataclass(frozen=True)
class Estimate:
    """A mean and what is known of it, in the units of its values.

    Attributes:
        mean: Of the values.
        low: Lower end of the 95 % interval; None where there is none.
        high: Upper end.
        n: Values in the mean.
        values: By training seed; empty for an interval over queries.
        over: What the interval is over: `seeds`, Student's t; or `queries`, a bootstrap of a single run.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    values: dict[int, float] = field(default_factory=dict)
    over: Literal["seeds", "queries"] = "seeds"


@dataclass(frozen=True)
class Difference:
    """A row's value less its baseline's, in points, paired by seed (or by query, where each has one seed).

    Attributes:
        baseline: Name of the baseline's configuration.
        label: What the baseline is, in words: `triplet`, `triplet_l2`.
        estimate: Of the difference.
        p: Of the paired t-test, two-sided; None where it cannot be had. None over queries.
        p_holm: Corrected by Holm for all differences of the table.
        verdict: What that says.
    """

    baseline: str
    label: str
    estimate: Estimate
    p: float | None
    p_holm: float | None
    verdict: Verdict


@dataclass(frozen=True)
class TableRow:
    """One configuration.

    Attributes:
        name: Of the configuration, `mdr-003`.
        method: The loss, with `_l2` on the unit sphere and ` + MDR` with MDR: `triplet`, `triplet_l2`, `triplet + MDR`.
        setting: Of a grid what was varied, in words, other than the method: `embedding size 64`; rows that a baseline
            is shared by have the same setting, less what of it is MDR's. Of a search all that was drawn for the row.
        values: What was varied, by dotted key.
        seeds: Training seeds that ran to their end.
        failed_seeds: Those that failed, diverged or were stopped, with how they ended: {2: "diverged"}.
        estimates: By metric, `test/recall_at_1`: percent.
        differences: To each of its baselines, at the table's metric; empty for a baseline.
        epochs: At which the seeds were best, on the split that the protocol chooses on.
        trials: Names of the trials, by seed.
    """

    name: str
    method: str
    setting: str
    values: dict[str, object]
    seeds: list[int]
    failed_seeds: dict[int, str]
    estimates: dict[str, Estimate]
    differences: list[Difference] = field(default_factory=list)
    epochs: dict[int, int] = field(default_factory=dict)
    trials: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AblationTable:
    """All rows of one launch.

    Attributes:
        sweep: Its name.
        data: The data set.
        metric: Which metric the differences are of: `test/recall_at_1`; of validation while test is not read.
        metrics: All columns, in order.
        rows: In the order of the grid, baselines after it; of a search that is no grid: the best of each arm.
        is_grid: Whether all configurations are shown.
        protocol: `validation` or `paper`: on which classes the best epoch was chosen, see `SweepFacts`.
        notes: Sentences that a reader must know: seeds that failed, few seeds, what p was corrected for.
    """

    sweep: str
    data: str
    metric: str
    metrics: list[str]
    rows: list[TableRow]
    is_grid: bool
    notes: list[str]
    protocol: str = "validation"
