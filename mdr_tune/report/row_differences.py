"""Rows of an ablation beside their baselines: paired by seed, or by query where each has one run."""

from dataclasses import dataclass, replace

import numpy as np

from mdr_tune.records.query_details import TestDetails
from mdr_tune.report.ablation_table import Difference, Estimate, TableRow, Verdict
from mdr_tune.report.row_settings import comparable_key, embedding_mode, has_mdr
from mdr_tune.report.table_rows import Configuration
from mdr_tune.statistics import bootstrap_difference, holm, paired_difference
from mdr_tune.util.errors import UserError
from mdr_tune.util.registry import nearest_name

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Pair:
    """A row and what it is compared with, by their places in the table."""

    row: int
    baseline: int


def baseline_pairs(configurations: list[Configuration], is_grid: bool) -> list[Pair]:
    """Return each row with MDR beside the rows without that are equal to it but for MDR, its own embedding mode first.

    In a search each arm was tuned on its own, so that nothing is equal: all arms without MDR are baselines then.
    """
    pairs = []
    without = [place for place, c in enumerate(configurations) if not has_mdr(c.config)]
    for row, configuration in enumerate(configurations):
        if not has_mdr(configuration.config):
            continue
        mode, key = embedding_mode(configuration.config), comparable_key(configuration.config)
        found = [b for b in without if not is_grid or comparable_key(configurations[b].config) == key]
        by_mode: dict[str, int] = {}  # a grid with `mdr: null` in it and the same as a baseline has it twice
        for place in found:
            by_mode.setdefault(embedding_mode(configurations[place].config), place)
        places = sorted(by_mode.values() if is_grid else found, key=lambda p: _mode(configurations[p]) != mode)
        pairs += [Pair(row, place) for place in places]
    return pairs


def _mode(configuration: Configuration) -> str:
    return embedding_mode(configuration.config)


def pairs_with(configurations: list[Configuration], name: str) -> list[Pair]:
    """Return every row but one beside that one.

    Raises:
        UserError: No row has that name; the text names those there are.
    """
    names = [configuration.name for configuration in configurations]
    if name not in names:
        guess = _meant(name, names)
        hint = f" Did you mean {guess!r}?" if guess else ""
        raise UserError(f"no row {name!r} to compare with.{hint} The table has: {', '.join(names) or 'none'}")
    return [Pair(row, names.index(name)) for row in range(len(names)) if row != names.index(name)]


def _meant(name: str, names: list[str]) -> str | None:
    """Return the row that was probably meant: one of the same number, `mdr-003` for `mdr-3` or the trial `mdr-003.2`.

    The next number is another configuration, however much alike the two names look.
    """
    wanted = _number(name.partition(".")[0])
    return None if wanted is None else nearest_name(name, [known for known in names if _number(known) == wanted])


def _number(name: str) -> int | None:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else None


def compare_rows(
    rows: list[TableRow],
    configurations: list[Configuration],
    pairs: list[Pair],
    metric: str,
    details: dict[str, TestDetails],
) -> list[TableRow]:
    """Return the rows with their differences, at `metric`, p-values corrected over all of them.

    Rows that have no seed in common have no difference.

    Args:
        rows: The table's.
        configurations: Of the rows.
        pairs: What to compare.
        metric: `test/recall_at_1`.
        details: By trial name; for intervals over queries. Empty where there are seeds to have them over.
    """
    found: list[tuple[int, Difference]] = []
    for pair in pairs:
        over_queries = _over_queries(configurations[pair.row], configurations[pair.baseline], metric, details)
        compared = over_queries or _over_seeds(configurations[pair.row], configurations[pair.baseline], metric)
        if compared is not None:
            estimate, p = compared
            baseline = rows[pair.baseline]
            found.append((pair.row, Difference(baseline.name, baseline.method, estimate, p, None, "not known")))
    corrected = holm([difference.p for _, difference in found])
    of_row: dict[int, list[Difference]] = {}
    for (row, difference), p_holm in zip(found, corrected, strict=True):
        verdict = _verdict(difference.estimate.mean, p_holm)
        of_row.setdefault(row, []).append(replace(difference, p_holm=p_holm, verdict=verdict))
    return [replace(row, differences=of_row.get(place, [])) for place, row in enumerate(rows)]


def _over_seeds(row: Configuration, baseline: Configuration, metric: str) -> tuple[Estimate, float | None] | None:
    found = paired_difference(row.values(metric), baseline.values(metric))
    if found is None:
        return None
    return Estimate(found.mean, found.low, found.high, found.n, found.differences), found.p


def _over_queries(
    row: Configuration, baseline: Configuration, metric: str, details: dict[str, TestDetails]
) -> tuple[Estimate, float | None] | None:
    """Return the difference of two single runs with its interval over the queries; None if they cannot be paired."""
    pair = paired_queries(row, baseline, metric, details)
    if pair is None:
        return None
    found = bootstrap_difference(pair[0], pair[1])
    return Estimate(found.mean, found.low, found.high, found.n, over="queries"), None


def paired_queries(
    row: Configuration, baseline: Configuration, metric: str, details: dict[str, TestDetails]
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return what each query contributes in both runs, in percent, and the queries' classes; each (n,).

    None if one of the two is not a single evaluated run, they have different seeds, or different queries.
    """
    sides = []
    for configuration in (row, baseline):
        if len(configuration.ran) != 1 or configuration.ran[0].record.name not in details:
            return None
        sides.append(details[configuration.ran[0].record.name])
    same_seed = row.ran[0].record.seed == baseline.ran[0].record.seed
    if not same_seed or not np.array_equal(sides[0].labels, sides[1].labels) or not metric.startswith("test/"):
        return None
    name = metric.removeprefix("test/")
    return sides[0].per_query(name), sides[1].per_query(name), sides[0].labels


def _verdict(mean: float, p_holm: float | None) -> Verdict:
    if p_holm is None:
        return "not known"
    if p_holm > SIGNIFICANT:
        return "not separated"
    return "better" if mean > 0 else "worse"
