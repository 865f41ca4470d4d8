"""Compare the rows of an ablation with their baselines: paired by seed, by fold and seed, or by query."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mdr_tune.records.query_details import TestDetails
from mdr_tune.report.row_settings import comparable_key, embedding_mode, has_mdr
from mdr_tune.report.rows import Difference, Estimate, Row
from mdr_tune.report.verdicts import verdict_of
from mdr_tune.statistics import (
    FoldSeed,
    PairedDifference,
    bootstrap_difference,
    holm,
    paired_difference,
    paired_difference_over_folds,
)
from mdr_tune.util.errors import UserError
from mdr_tune.util.nearest_name import did_you_mean


@dataclass(frozen=True)
class Pair:
    """Indices of a row and of its baseline among the rows of a table, from 0."""

    row: int
    baseline: int


def baseline_pairs(rows: list[Row], is_grid: bool) -> list[Pair]:
    """Return pairs of each row with MDR and each of its baselines. The baseline with the row's embedding mode is first.

    In a grid (`is_grid`), a row's baselines have its configuration without MDR, one for each embedding mode. In a
    search, where each arm was tuned on its own, the baselines are the rows of all arms without MDR.
    """
    pairs = []
    configs = [row.first.config for row in rows]
    modes, keys = [embedding_mode(config) for config in configs], [comparable_key(config) for config in configs]
    without = [place for place, config in enumerate(configs) if not has_mdr(config)]
    for row, config in enumerate(configs):
        if not has_mdr(config):
            continue
        found = [place for place in without if not is_grid or keys[place] == keys[row]]
        by_mode: dict[str, int] = {}  # `mdr: null` in a grid may equal a baseline: then one is used
        for place in found:
            by_mode.setdefault(modes[place], place)
        places = sorted(by_mode.values() if is_grid else found, key=lambda place: modes[place] != modes[row])
        pairs += [Pair(row, place) for place in places]
    return pairs


def pairs_with(rows: list[Row], name: str) -> list[Pair]:
    """Return a pair for each of `rows` except the row called `name`, which is the baseline of all pairs.

    Raises:
        UserError: No row has this name. The text lists the names.
    """
    names = [row.name for row in rows]
    if name not in names:
        # Only a name with the same number is suggested: `mdr-003` for `mdr-3`, or for the trial `mdr-003.2`. A name
        # with another number may look alike, but is another configuration.
        wanted = _number(name.partition(".")[0])
        hint = did_you_mean(name, [] if wanted is None else [known for known in names if _number(known) == wanted])
        raise UserError(f"no row {name!r} to compare with.{hint} The table has: {', '.join(names) or 'none'}")
    return [Pair(row, names.index(name)) for row in range(len(names)) if row != names.index(name)]


def _number(name: str) -> int | None:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else None


def compare_rows(rows: list[Row], pairs: list[Pair], metric: str, details: dict[str, TestDetails]) -> list[Row]:
    """Return `rows` with their differences in `metric` filled in: one for each of `pairs` that has a seed in common.

    The p-values are corrected for the number of differences. `details` are the test results of each query, by trial
    name, for intervals over queries; empty if intervals over seeds are wanted.
    """
    found: list[tuple[int, Difference]] = []
    for pair in pairs:
        row, baseline = rows[pair.row], rows[pair.baseline]
        compared = _over_queries(row, baseline, metric, details) or _over_seeds(row, baseline, metric)
        if compared is not None:
            estimate, p = compared
            found.append((pair.row, Difference(baseline.name, baseline.method, estimate, p, None, "not known")))
    corrected = holm([difference.p for _, difference in found])
    of_row: dict[int, list[Difference]] = {}
    for (place, difference), p_holm in zip(found, corrected, strict=True):
        verdict = verdict_of(difference.estimate, p_holm)
        of_row.setdefault(place, []).append(replace(difference, p_holm=p_holm, verdict=verdict))
    return [replace(row, differences=of_row.get(place, [])) for place, row in enumerate(rows)]


def _over_seeds(row: Row, baseline: Row, metric: str) -> tuple[Estimate, float | None] | None:
    sides: Any = (row.values_of(metric), baseline.values_of(metric))
    found: PairedDifference[int] | PairedDifference[FoldSeed] | None
    if row.folds is None:
        found = paired_difference(*sides)
    else:
        found = paired_difference_over_folds(sides[0], sides[1], row.folds)
    if found is None:
        return None
    differences: dict[Any, float] = {**found.differences}
    over: Literal["seeds", "folds"] = "seeds" if row.folds is None else "folds"
    return Estimate(found.mean, found.low, found.high, found.n, differences, over), found.p


def _over_queries(
    row: Row, baseline: Row, metric: str, details: dict[str, TestDetails]
) -> tuple[Estimate, float | None] | None:
    """Return the difference in `metric` of two single runs, with an interval over queries, and None as its p-value.

    The result is None if `row` and `baseline` cannot be paired by query, see `paired_queries`.
    """
    pair = paired_queries(row, baseline, metric, details)
    if pair is None:
        return None
    found = bootstrap_difference(pair[0], pair[1])
    return Estimate(**vars(found), over="queries"), None


def paired_queries(
    row: Row, baseline: Row, metric: str, details: dict[str, TestDetails]
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return three arrays (n,): the `metric` of n queries in percent, for `row` and for `baseline`, and their classes.

    `details` are the test results of each query, by trial name. None if a row has several runs, or no run in
    `details`, if the seeds or queries of the two rows differ, or if `metric` is not a mean over test queries.
    """
    sides = []
    for one in (row, baseline):
        if len(one.ran) != 1 or one.ran[0].record.name not in details:
            return None
        sides.append(details[one.ran[0].record.name])
    same_seed = row.seeds == baseline.seeds
    if not same_seed or not np.array_equal(sides[0].labels, sides[1].labels) or not metric.startswith("test/"):
        return None
    name = metric.removeprefix("test/")
    if not all(side.has(name) for side in sides):
        return None
    return sides[0].per_query(name), sides[1].per_query(name), sides[0].labels
