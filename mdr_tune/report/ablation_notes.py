"""Write the notes below an ablation's table: how rows were chosen, how few seeds they have, and what is missing."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.recorded_sweep import SweepEvidence, SweepFacts
from mdr_tune.report.names import full_title
from mdr_tune.report.output.texts import number
from mdr_tune.report.row_differences import Pair, paired_queries
from mdr_tune.report.rows import Estimate, Row, RunKey, said_key
from mdr_tune.statistics import bootstrap_difference, fold_means, smallest_separated, smallest_separated_over_folds
from mdr_tune.util.words import count, some

CHANCE_METRIC = "test/recall_at_1"
NEAR = 3.0
"""A row is near chance if its mean test Recall@1 is below this many times that of a random order."""
NAMED = 3
"""Largest number of rows that the note on chance names. Further rows are only counted."""


def notes(
    evidence: SweepEvidence,
    metric: str,
    rows: Sequence[Row],
    pairs: Sequence[Pair],
    details: dict[str, TestDetails],
    baseline: str | None = None,
) -> list[str]:
    """Return the notes below the table of `rows`: how rows were chosen, how few seeds they have, what is missing.

    Args:
        evidence: Records of the launch, as read from MLflow.
        metric: Name of the metric in which rows are compared.
        pairs: Rows and the baselines that they were compared with.
        details: Test results of each query, by trial name; empty if no intervals over queries are wanted.
        baseline: Name of the row that a user chose as the baseline of all other rows; None without such a choice.
    """
    found = _missing_seeds(evidence.facts, metric, rows)
    if any(row.ran for row in rows):
        found = [
            *_choice(evidence, metric),
            *_few_seeds(rows),
            *_family(rows),
            *_single_runs(rows, pairs, metric, details),
            *found,
            *_without_difference(rows, pairs),
        ]
    if baseline is not None:
        found.append(
            f"Every row is compared with {baseline}, which was named for this report: if it was named for its values, "
            "p is too small."
        )
    return [*found, *near_chance(rows, evidence.details)]


def _choice(evidence: SweepEvidence, metric: str) -> list[str]:
    """Return a note on the classes on which epochs and rows were chosen, and whether this makes `metric` too high."""
    facts = evidence.facts
    is_grid = facts.sampler == "grid"
    by = "" if evidence.sweep.finalists is None else " (of its finalists, by their means over seeds)"
    what = "The best epoch of each trial" if is_grid else f"The best configuration of each arm{by}, and its best epoch,"
    verb = "was" if is_grid else "were"
    if facts.protocol == "paper":
        text = f"{what} {verb} chosen on the test classes, as the authors do: the values are higher than on classes"
        return [f"{text} that had no say."]
    if not metric.startswith("test/"):
        text = f"{what} {verb} chosen on the validation classes, and the values are of the same classes: they are"
        return [f"{text} higher than on classes that had no say."]
    all_shown = " Every configuration is shown." if is_grid else ""
    return [f"{what} {verb} chosen on validation classes; the test classes had no say.{all_shown}"]


def _few_seeds(rows: Sequence[Row]) -> list[str]:
    """Return [sentence]: by how many points a row must differ from its baseline to be significant in one test.

    This is computed for the most seeds and the median standard deviation of the tested differences. Return [] if no
    difference was tested.
    """
    tested = [d.estimate for row in rows for d in row.differences if d.p is not None]
    if not tested:
        return []
    pairs, folds = max(estimate.n for estimate in tested), rows[0].folds
    deviation = median(float(np.std(_units(estimate), ddof=1)) for estimate in tested)
    points = (
        smallest_separated(deviation, pairs)
        if folds is None
        else smallest_separated_over_folds(deviation, pairs, folds)
    )
    runs = count(pairs, "seed" if folds is None else "fold")
    return [
        f"n = {runs}: only differences larger than about {number(points)} points can be told from "
        "chance by one test (p = 0.05 at the median spread of the differences), and with the correction larger ones."
    ]


def _units(estimate: Estimate) -> np.ndarray:
    """Return the values that the test of `estimate` is over: those of the seeds, or the means of the folds."""
    values: Any = estimate.values
    return fold_means(values) if estimate.over == "folds" else np.array(list(values.values()))


def _family(rows: Sequence[Row]) -> list[str]:
    over = "seeds"
    if rows[0].folds is not None:
        over = "folds (of means over the seeds, with Nadeau and Bengio's corrected variance)"
    tests = sum(difference.p is not None for row in rows for difference in row.differences)
    if not tests:
        return []
    if tests == 1:
        return [f"p is of a paired t-test over {over}; there is one, and nothing to correct for."]
    return [
        f"p-values are of paired t-tests over {over}, corrected by Holm's method for the {tests} tests of the table. "
        "Intervals are not corrected: one may leave out 0 where the corrected p is above 0.05."
    ]


def _single_runs(rows: Sequence[Row], pairs: Sequence[Pair], metric: str, details: dict[str, TestDetails]) -> list[str]:
    """Return warnings that each of `rows` has only one seed; an empty list if a row has several seeds.

    With `details`, the test results of each query by trial name, one sentence says how much wider the intervals of the
    differences in `metric` between `pairs` of rows are if whole classes are resampled instead of single queries.
    """
    if any(len(row.ran) > 1 for row in rows):
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
        if (queries := paired_queries(rows[pair.row], rows[pair.baseline], metric, details))
        and (ratio := _class_ratio(*queries)) is not None
    ]
    if ratios:
        sentences.append(
            "Queries of a class are not independent: where whole classes are resampled, the intervals of the "
            f"differences are {median(ratios):.1f} times as wide (median)."
        )
    return sentences


def _class_ratio(values: np.ndarray, baseline: np.ndarray, labels: np.ndarray) -> float | None:
    """Return how many times wider a difference's interval is if whole classes are resampled, not single queries.

    `values` (n,) and `baseline` (n,) are the values of n queries in two runs, and `labels` (n,) the classes of the
    queries. None if there is no interval, or one of width 0.
    """
    widths = []
    for by in (None, labels):
        found = bootstrap_difference(values, baseline, by)
        if found.low is None or found.high is None or found.high == found.low:
            return None
        widths.append(found.high - found.low)
    return widths[1] / widths[0]


def _missing_seeds(facts: SweepFacts, metric: str, rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each of `rows` in which a seed of `facts` is missing, has failed, or lacks `metric`."""
    sentences = []
    listed: list[RunKey] = []
    if facts.folds is not None:
        listed = [(fold, seed) for fold in range(facts.folds) for seed in sorted(facts.seeds)]
    elif facts.sampler == "grid" and len(facts.seeds) > 1:
        listed = [*sorted(facts.seeds)]
    for row in rows:
        missing = [f"{said_key(key)} {_ended(outcome)}" for key, outcome in sorted(row.failed_seeds.items(), key=str)]
        begun = {row.key_of(trial.record) for trial in row.trials}
        missing += [f"{said_key(key)} was not begun" for key in listed if key not in begun]
        has_value = row.values_of(metric)
        without = [f"{said_key(seed)} has no {full_title(metric)}" for seed in row.seeds if seed not in has_value]
        if missing:
            missing[-1] += "; it is in no mean" if len(missing) == 1 else "; they are in no mean"
        if missing or without:
            sentences.append(f"{row.name} ({row.title}): {', '.join([*without, *missing])}.")
    return sentences


def _run(rows: Sequence[Row]) -> str:
    return "seed" if rows[0].folds is None else "fold and seed"


def _ended(outcome: str) -> str:
    return {"running": "is still running", "killed": "was interrupted"}.get(outcome, outcome)


def _without_difference(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[str]:
    return [
        f"{rows[p.row].name} and {rows[p.baseline].name} have no {_run(rows)} in common that gave a value: "
        "no difference."
        for p in pairs
        if rows[p.baseline].name not in [difference.baseline for difference in rows[p.row].differences]
    ]


def chance_recall(labels: np.ndarray) -> float:
    """Return the Recall@1, in percent, that a random ranking gives for n images with the classes `labels`, (n,).

    If R of the n - 1 other images have a query's class, a random image has this class with probability R / (n - 1).
    """
    _, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return float(100.0 * np.mean(sizes[place] - 1) / max(len(labels) - 1, 1))


def near_chance(rows: Sequence[Row], details: dict[str, TestDetails]) -> list[str]:
    """Return a note on `rows` whose mean test Recall@1 is below `NEAR` times chance; empty if there are no such rows.

    `details` has the test results of each query, by trial name. Rows without test results are left out, because the
    chance level is computed from the classes of the queries.
    """
    found = []
    for row in rows:
        labels = next((details[trial.record.name].labels for trial in row.trials if trial.record.name in details), None)
        if labels is not None and CHANCE_METRIC in row.estimates:
            chance = chance_recall(labels)
            if row.estimates[CHANCE_METRIC].mean < NEAR * chance:
                found.append((row, chance))
    if not found:
        return []
    named = some([f"{row.name} ({row.title})" for row, _ in found], NAMED, "; ")
    return [
        f"Near chance: the mean test Recall@1 of {named} is below {NEAR:g} times what a random order gives "
        f"({number(found[0][1])} percent), so that a difference to such a row says little."
    ]
