"""The end of a sweep in words and one table: the best trials, the baselines, what MDR gained. No figures of speech."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mdr_tune.config.domains import DIGITS, describe_value, tell_apart
from mdr_tune.records.objectives import by_configuration, chosen_on, mean_over_seeds, on_front
from mdr_tune.records.trial_record import SweepResult, TrialRecord
from mdr_tune.report.trial_table import Row, trial_table
from mdr_tune.util.words import count

BEST_TRIALS_SHOWN = 5
FRONT_SHOWN = 5


def metric_label(metric: str) -> str:
    """Return a metric as the field writes it: `val/recall_at_1`, `curves/test_recall_at_1` -> `Recall@1`."""
    name = _quality(metric)
    if name.startswith("recall_at_"):
        return "Recall@" + name.removeprefix("recall_at_")
    return {"map_at_r": "MAP@R", "r_precision": "R-precision"}.get(name, name)


def test_key(metric: str) -> str:
    """Return the test metric that stands beside a metric of each epoch, of validation or a curve."""
    return "test/" + _quality(metric)


def _quality(metric: str) -> str:
    """Return what is measured, without on which classes and when: `curves/best_test_recall_at_1` -> `recall_at_1`."""
    name = metric.split("/")[-1].removeprefix("best_")
    return name.removeprefix("test_").removeprefix("train_")


def value_titles(metric: str) -> tuple[str, str]:
    """Return the titles of the columns with what is chosen by, and with the test value: `val Recall@1`, `test
    Recall@1`. With the authors' protocol both are of the test classes."""
    label = metric_label(metric)
    return f"{'val' if chosen_on(metric) == 'validation' else 'best test'} {label}", f"test {label}"


def format_parameters(parameters: dict[str, Any], digits: int = DIGITS) -> str:
    """Return sampled parameters in one short line: `levels 3 over ±2.40, weight 0.13, margin 0.2`.

    Args:
        parameters: By dotted key.
        digits: Significant digits of a number; of the levels' spread and offset one less are behind the point.
    """
    left = dict(parameters)
    parts: list[str] = []
    if any(key.startswith("mdr.levels.") for key in left):
        count, spread = left.pop("mdr.levels.count", None), left.pop("mdr.levels.spread", None)
        offset = left.pop("mdr.levels.offset", None)
        text = "levels" + (f" {count}" if count is not None else "")
        text += f" over ±{spread:.{digits - 1}f}" if spread is not None else ""
        parts.append(text + (f" about {offset:.{digits - 1}f}" if offset is not None else ""))
    names = [key.split(".")[-1] for key in left]
    for key, value in left.items():
        group, _, short = key.rpartition(".")
        if short == "size" or names.count(short) > 1:
            short = f"{group} {short}".strip()
        parts.append(f"{short} {describe_value(value, digits)}")
    return ", ".join(parts)


def said_parameters(records: Sequence[TrialRecord], metric: str) -> dict[str, str]:
    """Return the parameters of each trial's best epoch in one short line, by its name.

    Those that differ are told apart, with more digits where it takes them.
    """
    texts = tell_apart([record.best_parameters(metric) for record in records], format_parameters)
    return {record.name: text for record, text in zip(records, texts, strict=True)}


def make_row(record: TrialRecord, metric: str, test: dict[str, float] | None) -> Row | None:
    """Return the table's line for a trial; None if it has no result."""
    best = record.best(metric)
    if best is None:
        return None
    value, epoch = best
    quality = None if test is None else test[test_key(metric)]
    outcome = record.outcome.replace("_", " ")
    parameters = format_parameters(record.parameters_in(epoch))
    return Row(record.name, outcome, record.epochs, epoch, value, quality, parameters)


def configuration_values(records: Sequence[TrialRecord], metric: str) -> dict[str, tuple[float, int]]:
    """Return the value of each configuration that has one, by its name, and how many seeds are in it.

    The mean over the seeds that ran to their end; the first seed's best while none did.
    """
    found: dict[str, tuple[float, int]] = {}
    for name, seeds in by_configuration(records).items():
        mean, own = mean_over_seeds(seeds, metric), seeds[0].best(metric)
        if mean is not None or own is not None:
            found[name] = mean or (own[0] if own else 0.0, 1)
    return found


def table_rows(result: SweepResult) -> list[Row]:
    """Return the best configurations of the main search (of a grid all, in its order), then the best of each baseline.

    The value of one with several seeds is their mean.
    """
    values = configuration_values(result.records, result.metric)
    main = [r for r in result.records if r.arm == result.main_arm and r.seed_index == 0 and r.best(result.metric)]
    if not result.shows_all:
        main = sorted(main, key=lambda record: -values[record.name][0])[:BEST_TRIALS_SHOWN]
    shown = main + [record for arm, record in result.best.items() if arm != result.main_arm]
    tests = result.test_means()
    tests |= {record.name: result.test[arm] for arm, record in result.best.items() if arm in result.test}
    said = said_parameters(result.records, result.metric)
    rows = []
    for record in shown:
        row = make_row(record, result.metric, tests.get(record.name))
        if row is not None:
            value, seeds = values[record.name]
            rows.append(replace(row, validation=value, seeds=seeds, parameters=said[record.name]))
    return rows


def _seeds(result: SweepResult, record: TrialRecord) -> int:
    """Return how many seeds are in the value of a configuration."""
    found = mean_over_seeds((r for r in result.records if r.config_name == record.config_name), result.metric)
    return 1 if found is None else found[1]


def pareto_front(records: Sequence[TrialRecord], metric: str, second_metric: str) -> list[TrialRecord]:
    """Return the trials that no other is at least as good as in both objectives and better in one, the best in the
    first objective first."""
    points = [record.objectives([metric, second_metric]) for record in records]
    on = on_front([None if point is None else (point[0], point[1]) for point in points])
    front = [(point[0], record) for record, point, is_on in zip(records, points, on, strict=True) if is_on and point]
    return [record for _, record in sorted(front, key=lambda pair: -pair[0])]


def verdict(result: SweepResult) -> list[str]:
    """Return the sentences that say who won, on which classes, and by how much."""
    winner, label = result.winner, metric_label(result.metric)
    if winner is None and result.interrupted:
        no_test = "" if result.test_was_read_on_the_way else " and read no test classes"
        return [f"Interrupted: this session chose no winner{no_test}. What was recorded is in MLflow."]
    if winner is None:
        return ["No trial finished an epoch: there is no winner. The MLflow runs of the failed trials say why."]
    _, epoch = winner.best(result.metric) or (0.0, 0)
    seeds = _seeds(result, winner)
    where = f"at epoch {epoch}" if seeds == 1 else f"in the mean of {seeds} seeds"
    split = chosen_on(result.metric)
    parts = [f"{label} {result.value(winner):.2f} {where}"]
    if winner.arm in result.test and split != "test":
        parts.append(f"test {label} {result.test[winner.arm][test_key(result.metric)]:.2f}")
    parameters = said_parameters(result.records, result.metric)[winner.name] or "the file as it is"
    lines = [f"Best on {split}: {winner.name} ({parameters}): {', '.join(parts)}."]
    lines += _circumstances(result)
    baselines = [arm for arm in result.best if arm != result.main_arm]
    if result.main_arm not in result.best:
        return [*lines, "No MDR trial finished an epoch: what MDR gains is not known."]
    if result.shows_all:  # the best of many rows beside a baseline says little of MDR
        chance = "One seed a row: differences of a few points can be chance."
        return [*lines, chance if seeds == 1 else "What MDR gained, row by row and paired by seed, is in the report."]
    if not baselines:
        return lines
    if winner.arm != result.main_arm:
        lines.append(f"A baseline wins: {winner.arm} without MDR beats every MDR trial on the {split} classes.")
    lines += _not_better(result, baselines) if winner.arm == result.main_arm else []
    lines += [_gain(result, arm, label) for arm in baselines]
    lines.append(f"{_choice(result)} {_caution(result)}")
    return lines


def _not_better(result: SweepResult, baselines: Sequence[str]) -> list[str]:
    """Return a sentence on the classes, validation or test, where the chosen MDR trial is no better than a baseline."""
    found, lines = gains(result), []
    for split in ("val", "test"):
        classes = "validation" if split == "val" else "test"
        points = {arm: round(found.get(f"gain/{split}_over_{arm}", math.inf), 2) for arm in baselines}
        equal, better = [arm for arm in points if points[arm] == 0], [arm for arm in points if points[arm] < 0]
        for arms, how in ((equal, "as good as"), (better, "better than")):
            if arms:
                are = "is" if len(arms) == 1 else "are"
                lines.append(f"{' and '.join(arms)} without MDR {are} {how} that trial on the {classes} classes.")
    return lines


def _choice(result: SweepResult) -> str:
    """Return how the compared trials were chosen, and how often the test classes were read."""
    split = chosen_on(result.metric)
    own = f"Each arm had its own search ({_budget(result)}), chosen on {split}"
    if split == "test":
        return f"{own}, as the authors do: its values are too good by that choice."
    if result.test_was_read_on_the_way:
        return f"{own}; test was read after each epoch, and chose nothing."
    return f"{own}; test was read once, for these trials."


def _caution(result: SweepResult) -> str:
    counts = {_seeds(result, record) for record in result.best.values()}
    if counts == {1}:
        return "One seed each: differences of this size can be chance."
    how_many = " to ".join(str(number) for number in sorted({min(counts), max(counts)}))
    return f"Means of {how_many} seeds each: small differences can be chance."


def _circumstances(result: SweepResult) -> list[str]:
    """Return the sentences on why the search ended, on trials without a value, and on the Pareto front."""
    lines = (
        [f"The search ended before its trials were used up: {result.stopped_because}."]
        if result.stopped_because
        else []
    )
    diverged = sum(record.outcome == "diverged" for record in result.records)
    if diverged:
        lines.append(f"{count(diverged, 'trial')} diverged and {'has' if diverged == 1 else 'have'} no value.")
    if result.second_metric is not None:
        lines.append(_front_sentence(result, result.second_metric))
    return lines


def _front_sentence(result: SweepResult, second_metric: str) -> str:
    main = [record for record in result.records if record.arm == result.main_arm]
    front = pareto_front(main, result.metric, second_metric)
    found = [(record.name, record.objectives([result.metric, second_metric]) or [0.0, 0.0]) for record in front]
    shown = [f"{name} ({first:.2f}, {second:.4g})" for name, (first, second) in found[:FRONT_SHOWN]]
    more = f" and {len(found) - FRONT_SHOWN} more" if len(found) > FRONT_SHOWN else ""
    second_label = metric_label(second_metric).replace("images_per_s", "images/s")
    return f"Pareto front of {metric_label(result.metric)} and {second_label}: {', '.join(shown)}{more}."


def _budget(result: SweepResult) -> str:
    """Return how many trials and epochs each compared arm had: early stopping gives arms different epochs."""
    parts = []
    for arm in result.best:
        records = [record for record in result.records if record.arm == arm]
        parts.append(f"{arm} {count(len(records), 'trial')} and {count(sum(r.epochs for r in records), 'epoch')}")
    return ", ".join(parts)


def gains(result: SweepResult) -> dict[str, float]:
    """Return what the best MDR trial gains over each baseline, in points: `gain/val_over_triplet`, and on test.

    With the authors' protocol there is no value of validation. Of a grid, whose rows are compared one by one, none.
    """
    found: dict[str, float] = {}
    if result.main_arm not in result.best or result.shows_all:
        return found
    mdr = result.best[result.main_arm]
    for arm, record in result.best.items():
        if arm == result.main_arm or not (mdr.best(result.metric) and record.best(result.metric)):
            continue
        if chosen_on(result.metric) == "validation":
            found[f"gain/val_over_{arm}"] = result.value(mdr) - result.value(record)
        key = test_key(result.metric)
        if arm in result.test and result.main_arm in result.test:
            found[f"gain/test_over_{arm}"] = result.test[result.main_arm][key] - result.test[arm][key]
    return found


def _gain(result: SweepResult, arm: str, label: str) -> str:
    found = gains(result)
    keys = {f"gain/val_over_{arm}": "on validation", f"gain/test_over_{arm}": "on test"}
    parts = [(found[key], where) for key, where in keys.items() if key in found]
    if not parts:
        return f"MDR over {arm}: not known, as a test value is missing."
    (first, where), *more = parts
    further = "".join(f", {value:+.2f} {there}" for value, there in more)
    return f"MDR over {arm}: {first:+.2f} points of {label} {where}{further}."


def markdown(result: SweepResult, load_command: str | None) -> str:
    """Return the description of the parent run in the MLflow UI."""
    lines = ["### " + verdict(result)[0], "", *[f"- {line}" for line in verdict(result)[1:]], ""]
    lines += trial_table(table_rows(result), *value_titles(result.metric))
    if load_command:
        lines += ["", "Load the winner:", "", "```python", load_command, "```"]
    return "\n".join(lines)
