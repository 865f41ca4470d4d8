"""What a reader of an ablation's table must know: how it was chosen, how few the seeds are, and what is missing."""

from collections.abc import Sequence
from statistics import median

import numpy as np

from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.recorded_sweep import SweepFacts
from mdr_tune.report.ablation_table import TableRow
from mdr_tune.report.output.texts import full_title, number, row_title
from mdr_tune.report.row_differences import Pair, paired_queries
from mdr_tune.report.table_rows import Configuration
from mdr_tune.statistics import bootstrap_difference, smallest_separated
from mdr_tune.util.words import count


def notes(
    facts: SweepFacts,
    metric: str,
    rows: Sequence[TableRow],
    configurations: Sequence[Configuration],
    pairs: Sequence[Pair],
    details: dict[str, TestDetails],
) -> list[str]:
    """Return the notes below a table, as sentences."""
    if not any(configuration.ran for configuration in configurations):
        return _missing_seeds(facts, metric, rows, configurations)
    return [
        *_choice(facts, metric),
        *_few_seeds(rows),
        *_family(rows),
        *_single_runs(configurations, pairs, metric, details),
        *_missing_seeds(facts, metric, rows, configurations),
        *_without_difference(rows, pairs),
    ]


def named_baseline(name: str) -> str:
    """Return what to mind where a user named the row that all others are compared with."""
    return (
        f"Every row is compared with {name}, which was named for this report: if it was named for its values, p is "
        "too small."
    )


def _choice(facts: SweepFacts, metric: str) -> list[str]:
    """Return on which classes epochs and rows were chosen."""
    is_grid = facts.sampler == "grid"
    what = "The best epoch of each trial" if is_grid else "The best configuration of each arm, and its best epoch,"
    verb = "was" if is_grid else "were"
    if facts.protocol == "paper":
        text = f"{what} {verb} chosen on the test classes, as the authors do: the values are higher than on classes"
        return [f"{text} that had no say."]
    if not metric.startswith("test/"):
        text = f"{what} {verb} chosen on the validation classes, and the values are of the same classes: they are"
        return [f"{text} higher than on classes that had no say."]
    all_shown = " Every configuration is shown." if is_grid else ""
    return [f"{what} {verb} chosen on validation classes; the test classes had no say.{all_shown}"]


def _few_seeds(rows: Sequence[TableRow]) -> list[str]:
    """Return which differences so few seeds can tell from chance, going by how much the differences of this table vary:
    n is the largest number of pairs, and the deviation the median of the deviations."""
    tested = [d.estimate for row in rows for d in row.differences if d.p is not None]
    if not tested:
        return []
    pairs = max(estimate.n for estimate in tested)
    deviation = median(float(np.std(list(estimate.values.values()), ddof=1)) for estimate in tested)
    points = smallest_separated(deviation, pairs)
    return [
        f"n = {count(pairs, 'seed')}: only differences larger than about {number(points)} points can be told from "
        "chance by one test (p = 0.05 at the median spread of the differences), and with the correction larger ones."
    ]


def _family(rows: Sequence[TableRow]) -> list[str]:
    tests = sum(difference.p is not None for row in rows for difference in row.differences)
    if not tests:
        return []
    if tests == 1:
        return ["p is of a paired t-test over seeds; there is one, and nothing to correct for."]
    return [
        f"p-values are of paired t-tests over seeds, corrected by Holm's method for the {tests} tests of the table. "
        "Intervals are not corrected: one may leave out 0 where the corrected p is above 0.05."
    ]


def _single_runs(
    configurations: Sequence[Configuration], pairs: Sequence[Pair], metric: str, details: dict[str, TestDetails]
) -> list[str]:
    """Return what intervals over queries leave out, and how much wider they are over classes."""
    if any(len(configuration.ran) > 1 for configuration in configurations):
        return []
    unknown = "whether a difference is MDR's or the seed's is not known"
    if not details or not metric.startswith("test/"):
        return [f"One training seed each: there are no intervals, and {unknown}."]
    sentences = [
        "One training seed each: intervals are over the test queries of a single run and leave out what another seed "
        f"would give; {unknown}."
    ]
    ratios = [
        ratio
        for pair in pairs
        if (queries := paired_queries(configurations[pair.row], configurations[pair.baseline], metric, details))
        and (ratio := _class_ratio(*queries)) is not None
    ]
    if ratios:
        sentences.append(
            "Queries of a class are not independent: where whole classes are resampled, the intervals of the "
            f"differences are {median(ratios):.1f} times as wide (median)."
        )
    return sentences


def _class_ratio(values: np.ndarray, baseline: np.ndarray, labels: np.ndarray) -> float | None:
    """Return how many times wider the interval over classes is than that over queries; None without the two."""
    widths = []
    for by in (None, labels):
        found = bootstrap_difference(values, baseline, by)
        if found.low is None or found.high is None or found.high == found.low:
            return None
        widths.append(found.high - found.low)
    return widths[1] / widths[0]


def _missing_seeds(
    facts: SweepFacts, metric: str, rows: Sequence[TableRow], configurations: Sequence[Configuration]
) -> list[str]:
    """Return a sentence for each row that lacks a seed, or the value of one."""
    sentences = []
    listed = set(facts.seeds) if facts.sampler == "grid" and len(facts.seeds) > 1 else set()
    for row, configuration in zip(rows, configurations, strict=True):
        missing = [f"seed {seed} {_ended(outcome)}" for seed, outcome in sorted(row.failed_seeds.items())]
        missing += [f"seed {seed} was not begun" for seed in sorted(listed - set(row.trials))]
        has_value = configuration.values(metric)
        without = [f"seed {seed} has no {full_title(metric)}" for seed in row.seeds if seed not in has_value]
        if missing:
            missing[-1] += "; it is in no mean" if len(missing) == 1 else "; they are in no mean"
        if missing or without:
            sentences.append(f"{row.name} ({row_title(row)}): {', '.join([*without, *missing])}.")
    return sentences


def _ended(outcome: str) -> str:
    return {"running": "is still running", "killed": "was interrupted"}.get(outcome, outcome)


def _without_difference(rows: Sequence[TableRow], pairs: Sequence[Pair]) -> list[str]:
    return [
        f"{rows[p.row].name} and {rows[p.baseline].name} have no seed in common that gave a value: no difference."
        for p in pairs
        if rows[p.baseline].name not in [difference.baseline for difference in rows[p.row].differences]
    ]
