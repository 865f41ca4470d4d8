"""Say in plain sentences which row is the best and what MDR gained. No other module makes such sentences.

`verdict` is about a sweep that has just ended, `summary_sentences` about the table of a report with its intervals.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mdr_tune.records.metrics import metric_label
from mdr_tune.records.objectives import best_key, chosen_on, on_front, recall_rank
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.records.trial_record import SweepResult, best_first_seeds, standing
from mdr_tune.report.names import full_title, test_key
from mdr_tune.report.output.texts import number, p_value, runs_in_words, signed, spread
from mdr_tune.report.row_settings import comparable_key
from mdr_tune.report.rows import AblationTable, Difference, Estimate, Row, result_rows, said_parameters
from mdr_tune.report.verdicts import WORDINGS, Verdict
from mdr_tune.util.words import count, some

NAMED = 3
"""Largest number of rows that a sentence names. Further rows are only counted."""
FRONT_SHOWN = 5


@dataclass(frozen=True)
class _Group:
    """Differences to baselines of the same kind, each with its row. `name` begins the sentences: `MDR over triplet`."""

    name: str
    found: list[tuple[Row, Difference]]


def summary_sentences(evidence: SweepEvidence, table: AblationTable) -> list[str]:
    """Return at most six sentences on the `table` that was made from `evidence`.

    They are on the best row, on what MDR gains, and on the number of test queries.
    """
    sentences = [*_best_row(evidence, table)]
    if not sentences:
        return ["No trial ran to its end: there is nothing to compare."]
    groups = _groups(evidence, table)
    if not groups:
        return [*sentences, _nothing_compared(table)]
    tests = sum(difference.p is not None for row in table.rows for difference in row.differences)
    for group in groups:
        sentences += _gain(group, table.metric, tests > 1)
    return sentences + _queries(table)


def _best_row(evidence: SweepEvidence, table: AblationTable) -> list[str]:
    """Return a sentence on the best row of `table`, as a list of one; an empty list if no row has a value.

    The best row is the best one on the classes on which the launch chose epochs, usually the validation classes.
    """
    chosen_by = best_key(evidence.sweep.metric)
    by = chosen_by if chosen_by in table.metrics else table.metric
    rows = [row for row in table.rows if by in row.estimates and table.metric in row.estimates]
    finalists = evidence.sweep.finalists
    best = max(rows, key=lambda row: (standing(row.value, finalists)[0], row.estimates[by].mean), default=None)
    if best is None:
        return []
    estimate = best.estimates[table.metric]
    how = "on validation" if by != table.metric else f"by {full_title(table.metric)}"
    return [f"Best {how}: {best.title}, with {full_title(table.metric)} {_told(estimate)}."]


def _told(estimate: Estimate) -> str:
    """Return `estimate` as text with its interval and seeds: `79.92 (95 % interval 75.20 to 84.63, n = 3 seeds)`."""
    if estimate.low is None or estimate.high is None:
        return f"{number(estimate.mean)} ({_n(estimate)}, no interval)"
    ends = f"{number(estimate.low)} to {number(estimate.high)}"
    return f"{number(estimate.mean)} (95 % interval {ends}, {_n(estimate)})"


def _told_difference(difference: Difference, is_corrected: bool, unit: str = "") -> str:
    """Return `difference` as text, with its interval, its p-value and the number of its pairs.

    `is_corrected` says whether the p-value is called corrected. `unit` is text after the number, such as ` points`.
    """
    estimate = difference.estimate
    parts = [] if estimate.low is None or estimate.high is None else [_ends(estimate.low, estimate.high)]
    if difference.p_holm is not None:
        name = "corrected p" if is_corrected else "p"
        parts.append(f"{name} {_equals(p_value(difference.p_holm))}")
    return f"{signed(estimate.mean)}{unit} ({', '.join([*parts, _n(estimate)])})"


def _equals(text: str) -> str:
    return text if text.startswith("<") else f"= {text}"


def _ends(low: float, high: float) -> str:
    return f"95 % interval {signed(low)} to {signed(high)}"


def _n(estimate: Estimate) -> str:
    return f"over {estimate.n} queries, one seed" if estimate.over == "queries" else f"n = {runs_in_words(estimate)}"


def _groups(evidence: SweepEvidence, table: AblationTable) -> list[_Group]:
    """Return the differences of `table` in two groups: to the row's own loss without MDR, and to other baselines.

    A group without differences is left out. If a difference shows more than what MDR gains (see `_is_gain`), all
    differences are in one group.
    """
    rows = {row.name: row for row in table.rows}
    found = [(row, difference) for row in table.rows for difference in row.differences]
    if not all(_is_gain(evidence, table, row, rows[d.baseline]) for row, d in found):
        names = " and ".join(dict.fromkeys(f"{d.baseline} ({rows[d.baseline].title})" for _, d in found))
        return [_Group(f"Other rows beside {names}", found)]
    same = [(row, d) for row, d in found if d.label == row.loss_name]
    other = [(row, d) for row, d in found if d.label != row.loss_name]
    groups = []
    for pairs, several in ((same, "the same loss without MDR"), (other, "another loss or embedding mode without MDR")):
        labels = list(dict.fromkeys(difference.label for _, difference in pairs))
        if pairs:
            groups.append(_Group(f"MDR over {labels[0] if len(labels) == 1 else several}", pairs))
    return groups


def _is_gain(evidence: SweepEvidence, table: AblationTable, row: Row, baseline: Row) -> bool:
    """Return whether the difference of `row` and `baseline` shows what MDR gains: only `row` has MDR.

    In a `table` of a grid, the configurations of both rows in `evidence` must also be equal except for MDR, embedding
    mode and seed. In a search, they may differ, since each arm was tuned on its own.
    """
    if not row.has_mdr or baseline.has_mdr:
        return False
    keys = {
        record.config_name: comparable_key(record.config)
        for record in evidence.sweep.records
        if record.config_name in (row.name, baseline.name)
    }
    return not table.is_grid or keys[row.name] == keys[baseline.name]


def _gain(group: _Group, metric: str, is_corrected: bool) -> list[str]:
    """Return one sentence on a single difference of `group` in `metric`, or two sentences on several differences.

    `is_corrected` says whether p-values are called corrected.
    """
    title = full_title(metric)
    if len(group.found) == 1:
        _, difference = group.found[0]
        told = _told_difference(difference, is_corrected, f" points of {title}")
        return [f"{group.name}: {told}: {_said(difference)}."]
    return [f"{group.name}: {_range(group, title, is_corrected)}.", f"{group.name}: {_counts(group.found)}."]


def _range(group: _Group, title: str, is_corrected: bool) -> str:
    """Return the smallest and the largest difference of `group` as text, in points of the metric called `title`.

    `is_corrected` says whether p-values are called corrected.
    """
    ordered = sorted(group.found, key=lambda pair: pair[1].estimate.mean)
    (least, bottom), (most, top) = ordered[0], ordered[-1]
    low, high = (signed(difference.estimate.mean) for difference in (bottom, top))
    if low == high:
        return f"{low} points of {title} in each of {len(ordered)} rows"
    one_method = len({row.method for row, _ in group.found}) == 1
    lowest, highest = (row.setting if one_method and row.setting else row.title for row in (least, most))
    return (
        f"{low} to {high} points of {title} in {len(ordered)} rows; the lowest with {lowest}: "
        f"{_told_difference(bottom, is_corrected)}; the highest with {highest}: {_told_difference(top, is_corrected)}"
    )


def _counts(found: list[tuple[Row, Difference]]) -> str:
    """Return words for how many of the differences `found` have which verdict. Worse rows are named."""
    rows: dict[Verdict, list[Row]] = {verdict: [] for verdict in WORDINGS}
    for row, difference in found:
        rows[difference.verdict].append(row)
    is_tested = any(WORDINGS[difference.verdict].tone != "quiet" for _, difference in found)
    parts = [f"better in {len(rows['better'])} of {len(found)} rows"] if is_tested else []
    if rows["worse"]:
        parts.append(f"worse in {len(rows['worse'])} ({some([row.title for row in rows['worse']], NAMED, '; ')})")
    for verdict, wording in WORDINGS.items():
        if verdict not in ("better", "worse") and rows[verdict]:
            number = f"{len(rows[verdict])}{'' if parts else f' of {len(found)} rows'}"
            parts.append(f"in {number} {wording.said}")
    return ", ".join(parts)


def _nothing_compared(table: AblationTable) -> str:
    if not any(row.has_mdr for row in table.rows):
        return "No row has MDR: nothing is said of it."
    if all(row.has_mdr for row in table.rows):
        return "No row is without MDR: what MDR gains is not known."
    return "No row with MDR has a baseline that is equal but for MDR and gave a value: what MDR gains is not known."


def beside_baselines(row: Row) -> str:
    """Return the differences of `row` to its baselines as one table cell: `+7.83 ± 0.36 over triplet: better`."""
    return "; ".join(
        " ".join([signed(d.estimate.mean), *spread(d.estimate).split(), f"over {d.label}: {d.verdict}"])
        for d in row.differences
    )


def verdict(result: SweepResult, table: AblationTable | None = None) -> list[str]:
    """Return sentences on the `result` of a sweep: which trial is the best, on which classes, and what MDR gained.

    With the report's `table` of the same launch, gains on the test classes have their intervals and verdicts.
    """
    winner, label = result.winner, metric_label(result.metric)
    if winner is None and result.interrupted:
        no_test = "" if result.test_was_read_on_the_way else " and read no test classes"
        return [f"Interrupted: this session chose no winner{no_test}. What was recorded is in MLflow."]
    if winner is None:
        return ["No trial finished an epoch: there is no winner. The MLflow runs of the failed trials say why."]
    best, split = _best_rows(result), chosen_on(result.metric)
    lines = [f"Best on {split}: {best_trial(result, table)}.", *_circumstances(result)]
    baselines = [arm for arm in result.best if arm != result.main_arm]
    if result.main_arm not in result.best:
        return [*lines, "No MDR trial finished an epoch: what MDR gains is not known."]
    if result.shows_all:  # the best of many rows beside a baseline says little of MDR
        chance = "One seed a row: differences of a few points can be chance."
        in_report = "What MDR gained, row by row and paired by seed, is in the report."
        return [*lines, chance if _seeds(best[winner.arm]) == 1 else in_report]
    queries = [] if table is None else _queries(table)
    if not baselines:
        return lines + queries
    if winner.arm != result.main_arm:
        lines.append(f"On {split} a baseline wins: {winner.arm} without MDR beats every MDR trial there.")
    found = gains(result)
    lines += _not_better(found, baselines) if winner.arm == result.main_arm else []
    judged = {} if table is None else _judged(result, table)
    corrected = sum(difference.p is not None for difference in judged.values()) > 1
    lines += [_gain_over(arm, found, label, judged.get(arm), corrected) for arm in baselines]
    lines += queries
    lines.append(_arms_choice(result) + ("" if len(judged) == len(baselines) else f" {_caution(best)}"))
    return lines


def _judged(result: SweepResult, table: AblationTable) -> dict[str, Difference]:
    """Return by the name of a baseline's arm what the best MDR configuration of `result` gains on test in `table`."""
    mdr = result.best[result.main_arm].config_name
    row = next((row for row in table.rows if row.name == mdr), None)
    if row is None or table.metric != test_key(result.metric):
        return {}
    of = {difference.baseline: difference for difference in row.differences}
    return {arm: of[record.config_name] for arm, record in result.best.items() if record.config_name in of}


def _queries(table: AblationTable) -> list[str]:
    """Return a sentence on the test queries of `table` and what one of them is worth, if their number is known."""
    if table.queries is None or not table.metric.startswith("test/"):
        return []
    at_most = "" if recall_rank(table.metric) is not None else "at most "  # of MAP@R, a query has a share
    worth = f"{at_most}{100 / table.queries:.2g} points of {full_title(table.metric)}"
    return [f"One of {table.queries:,} test queries is {worth}."]


def best_trial(result: SweepResult, table: AblationTable | None = None) -> str:
    """Return the winner of `result` as text: `mdr-007 (margin 0.2): Recall@1 62.50 at epoch 2, test Recall@1 57.50`.

    With the report's `table`, the test value has its interval.
    """
    winner, label = result.winner, metric_label(result.metric)
    assert winner is not None
    rows = result_rows(result)
    row = next(row for row in rows if row.name == winner.config_name)
    value, seeds = row.value or (0.0, 1)
    _, epoch = winner.best(result.metric) or (0.0, 0)
    parts = [f"{label} {value:.2f} {f'at epoch {epoch}' if seeds == 1 else f'in the mean of {seeds} seeds'}"]
    test = row.mean_of(test_key(result.metric))
    if test is not None and chosen_on(result.metric) != "test":
        shown = next((row for row in (table.rows if table else []) if row.name == winner.config_name), None)
        estimate = None if shown is None else shown.estimates.get(test_key(result.metric))
        parts.append(f"test {label} {f'{test:.2f}' if estimate is None else _told(estimate)}")
    said = said_parameters([trial for row in rows for trial in row.trials], result.metric)
    return f"{winner.name} ({said[winner.name] or 'the file as it is'}): {', '.join(parts)}"


def _best_rows(result: SweepResult) -> dict[str, Row]:
    rows = {row.name: row for row in result_rows(result)}
    return {arm: rows[record.config_name] for arm, record in result.best.items()}


def _seeds(row: Row) -> int:
    return 1 if row.value is None else row.value[1]


def gains(result: SweepResult) -> dict[str, float]:
    """Return the gains of the best MDR trial of `result` over each baseline, in points, by metric name.

    For `triplet`, they are `gain/val_over_triplet` and `gain/test_over_triplet`, the first only if trials were chosen
    on validation classes. A grid has no gains, since its rows are compared one by one.
    """
    found: dict[str, float] = {}
    best = _best_rows(result)
    if result.main_arm not in best or result.shows_all:
        return found
    mdr, on_validation = best.pop(result.main_arm), chosen_on(result.metric) == "validation"
    for arm, row in best.items():
        if mdr.value is None or row.value is None:
            continue
        if on_validation:
            found[f"gain/val_over_{arm}"] = mdr.value[0] - row.value[0]
        tests = [one.mean_of(test_key(result.metric)) for one in (mdr, row)]
        if tests[0] is not None and tests[1] is not None:
            found[f"gain/test_over_{arm}"] = tests[0] - tests[1]
    return found


def _gain_over(arm: str, found: dict[str, float], label: str, judged: Difference | None, is_corrected: bool) -> str:
    """Return a sentence on the gains over the baseline `arm` that are in `found`, in points of the metric `label`.

    `judged` is the difference on test in the report; None if there is none. `is_corrected`: see `_told_difference`.
    """
    if judged is not None:
        told = _told_difference(judged, is_corrected, f" points of test {label}")
        on_validation = found.get(f"gain/val_over_{arm}")
        further = "" if on_validation is None else f" On validation {signed(on_validation)}."
        return f"MDR over {arm}: {told}: {_said(judged)}.{further}"
    keys = {f"gain/val_over_{arm}": "on validation", f"gain/test_over_{arm}": "on test"}
    parts = [(found[key], where) for key, where in keys.items() if key in found]
    if not parts:
        return f"MDR over {arm}: not known, as a test value is missing."
    (first, where), *more = parts
    further = "".join(f", {value:+.2f} {there}" for value, there in more)
    return f"MDR over {arm}: {first:+.2f} points of {label} {where}{further}."


def _not_better(found: dict[str, float], baselines: Sequence[str]) -> list[str]:
    """Return sentences on the splits on which some of `baselines` are as good as or better than the MDR trial.

    `found` are the gains of the MDR trial in points, as `gains` returns them.
    """
    lines = []
    for split, classes in (("val", "validation"), ("test", "test")):
        points = {arm: round(found.get(f"gain/{split}_over_{arm}", math.inf), 2) for arm in baselines}
        equal, better = [arm for arm in points if points[arm] == 0], [arm for arm in points if points[arm] < 0]
        for arms, how in ((equal, "as good as"), (better, "better than")):
            if arms:
                are = "is" if len(arms) == 1 else "are"
                lines.append(f"{' and '.join(arms)} without MDR {are} {how} that trial on the {classes} classes.")
    return lines


def _arms_choice(result: SweepResult) -> str:
    """Return a sentence on how the trials compared in `result` were chosen, and when the test classes were read."""
    split = chosen_on(result.metric)
    own = f"Each arm had its own search ({_budget(result)}), chosen on {split}"
    if split == "test":
        return f"{own}, as the authors do: its values are too good by that choice."
    if result.test_was_read_on_the_way:
        return f"{own}; test was read after each epoch, and chose nothing."
    return f"{own}; test was read once, for these trials."


def _budget(result: SweepResult) -> str:
    """Return words for how many trials and epochs each arm of `result` had. Early stopping makes the epochs differ."""
    parts = []
    for arm in result.best:
        records = [record for record in result.records if record.arm == arm]
        parts.append(f"{count(len(records), 'trial')} and {count(sum(r.epochs for r in records), 'epoch')}")
    if len(parts) > 1 and len(set(parts)) == 1:
        return f"{parts[0]} each"
    return ", ".join(f"{arm} {part}" for arm, part in zip(result.best, parts, strict=True))


def _caution(best: dict[str, Row]) -> str:
    counts = {_seeds(row) for row in best.values()}
    if counts == {1}:
        return "One seed each: differences of this size can be chance."
    how_many = " to ".join(str(number) for number in sorted({min(counts), max(counts)}))
    return f"Means of {how_many} seeds each: small differences can be chance."


def _circumstances(result: SweepResult) -> list[str]:
    """Return sentences on why the search of `result` ended, on finalists, failed trials, and the Pareto front."""
    lines = []
    if result.stopped_because:
        lines.append(f"The search ended before its trials were used up: {result.stopped_because}.")
    if result.finalists is not None:
        lines.append(_finalists_sentence(result))
    diverged = sum(record.outcome == "diverged" for record in result.records)
    if diverged:
        lines.append(f"{count(diverged, 'trial')} diverged and {'has' if diverged == 1 else 'have'} no value.")
    if result.second_metric is not None:
        lines.append(_front_sentence(result, result.second_metric))
    return lines


def _finalists_sentence(result: SweepResult) -> str:
    """Return a sentence on how many configurations have several seeds, and on the best first seed of the winner's arm.

    `result` must have a winner. Its finalists are ranked above all others, see `standing`.
    """
    assert result.winner is not None
    arm = result.winner.arm
    numbers = dict.fromkeys(result.best, 0)
    for row in result_rows(result):
        numbers[row.first.arm] = numbers.get(row.first.arm, 0) + (_seeds(row) > 1)
    if not any(numbers.values()):
        return "No finalist has further seeds: the best value of a single seed, of many, is too high by chance."
    said = ", ".join(f"{name} {number}" for name, number in numbers.items())
    best = best_first_seeds((r for r in result.records if r.arm == arm), result.metric, 1)
    value = "" if not best else f", {(best[0].best(result.metric) or (0.0, 0))[0]:.2f} of {best[0].name},"
    return (
        f"Finalists ({said}) are compared by their means over seeds; the highest value of a first seed{value} is the "
        "best of many, and too high by chance."
    )


def _front_sentence(result: SweepResult, second_metric: str) -> str:
    main = [record for record in result.records if record.arm == result.main_arm]
    values = [record.objectives([result.metric, second_metric]) for record in main]
    points = [None if value is None else (value[0], value[1]) for value in values]
    on = zip(main, points, on_front(points), strict=True)
    front = sorted(((point, r.name) for r, point, is_on in on if is_on and point), key=lambda pair: -pair[0][0])
    shown = some([f"{name} ({first:.2f}, {second:.4g})" for (first, second), name in front], FRONT_SHOWN)
    second_label = metric_label(second_metric)
    return f"Pareto front of {metric_label(result.metric)} and {second_label}: {shown}."


def _said(difference: Difference) -> str:
    """Return the verdict on `difference` in words."""
    said = WORDINGS[difference.verdict].said
    return said.replace("the seeds", "the folds") if difference.estimate.over == "folds" else said
