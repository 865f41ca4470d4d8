"""The end of a sweep in words and one table: the best trials, the baselines, what MDR gained. No figures of speech."""

from dataclasses import dataclass
from typing import Any

from mdr_tune.config.space import describe_value
from mdr_tune.records import SweepResult, TrialRecord
from mdr_tune.words import count

BEST_TRIALS_SHOWN = 5
INTERRUPTED = "Interrupted: no winner was chosen, the test classes were not read. What was recorded is in MLflow."


@dataclass(frozen=True)
class Row:
    """One line of the table of trials. Qualities are in percent."""

    name: str
    outcome: str
    epochs: int
    best_epoch: int
    validation: float
    test: float | None
    parameters: str


def metric_label(metric: str) -> str:
    """Return a metric as the field writes it: `val/recall_at_1` -> `Recall@1`."""
    name = metric.split("/")[-1]
    if name.startswith("recall_at_"):
        return "Recall@" + name.removeprefix("recall_at_")
    return {"map_at_r": "MAP@R", "r_precision": "R-precision"}.get(name, name)


def test_key(metric: str) -> str:
    """Return the test metric that stands beside a validation metric."""
    return "test/" + metric.split("/")[-1]


def format_parameters(parameters: dict[str, Any]) -> str:
    """Return sampled parameters in one short line: `levels 3 over ±2.40, weight 0.13, margin 0.2`."""
    left = dict(parameters)
    parts: list[str] = []
    if any(key.startswith("mdr.levels.") for key in left):
        count, spread = left.pop("mdr.levels.count", None), left.pop("mdr.levels.spread", None)
        offset = left.pop("mdr.levels.offset", None)
        text = "levels" + (f" {count}" if count is not None else "")
        text += f" over ±{spread:.2f}" if spread is not None else ""
        parts.append(text + (f" about {offset:.2f}" if offset is not None else ""))
    names = [key.split(".")[-1] for key in left]
    for key, value in left.items():
        group, _, short = key.rpartition(".")
        if short == "size" or names.count(short) > 1:
            short = f"{group} {short}".strip()
        parts.append(f"{short} {describe_value(value)}")
    return ", ".join(parts)


def make_row(record: TrialRecord, metric: str, test: dict[str, float] | None) -> Row | None:
    """Return the table's line for a trial; None if it has no result."""
    best = record.best(metric)
    if best is None:
        return None
    value, epoch = best
    quality = None if test is None else test[test_key(metric)]
    outcome = record.outcome.replace("_", " ")
    return Row(record.name, outcome, record.epochs, epoch, value, quality, format_parameters(record.parameters))


def table_rows(result: SweepResult) -> list[Row]:
    """Return the best trials of the main search (of a grid all, in its order), then the best of each baseline."""
    main = [record for record in result.records if record.arm == result.main_arm and record.best(result.metric)]
    if not result.shows_all:
        main = sorted(main, key=lambda record: -(record.best(result.metric) or (0.0, 0))[0])[:BEST_TRIALS_SHOWN]
    shown = main + [record for arm, record in result.best.items() if arm != result.main_arm]
    tests = {record.trial_id: result.test.get(arm) for arm, record in result.best.items()}
    rows = [make_row(record, result.metric, tests.get(record.trial_id)) for record in shown]
    return [row for row in rows if row is not None]


def verdict(result: SweepResult) -> list[str]:
    """Return the sentences that say who won, on which classes, and by how much."""
    winner, label = result.winner, metric_label(result.metric)
    if winner is None and result.interrupted:
        return [INTERRUPTED]
    if winner is None:
        return ["No trial finished an epoch: there is no winner. The MLflow runs of the failed trials say why."]
    value, epoch = winner.best(result.metric) or (0.0, 0)
    parts = [f"validation {label} {value:.2f} at epoch {epoch}"]
    if winner.arm in result.test:
        parts.append(f"test {label} {result.test[winner.arm][test_key(result.metric)]:.2f}")
    lines = [
        f"Winner: {winner.name} ({format_parameters(winner.parameters) or 'the file as it is'}): {', '.join(parts)}."
    ]
    baselines = [arm for arm in result.best if arm != result.main_arm]
    if result.main_arm not in result.best:
        return [*lines, "No MDR trial finished an epoch: what MDR gains is not known."]
    if not baselines:
        return [*lines, "One seed a row: differences of a few points can be chance."] if result.shows_all else lines
    if winner.arm != result.main_arm:
        lines.append(f"A baseline wins: {winner.arm} without MDR beats every MDR trial on the validation classes.")
    lines += [_gain(result, arm, label) for arm in baselines]
    lines.append(
        f"Each arm had its own search ({_budget(result)}), chosen on validation; test was read once, for these trials. "
        "One seed each: differences of this size can be chance."
    )
    return lines


def _budget(result: SweepResult) -> str:
    """Return how many trials and epochs each compared arm had: early stopping gives arms different epochs."""
    parts = []
    for arm in result.best:
        records = [record for record in result.records if record.arm == arm]
        parts.append(f"{arm} {count(len(records), 'trial')} and {count(sum(r.epochs for r in records), 'epoch')}")
    return ", ".join(parts)


def gains(result: SweepResult) -> dict[str, float]:
    """Return what the best MDR trial gains over each baseline, in points: `gain/val_over_triplet` and so on."""
    found: dict[str, float] = {}
    if result.main_arm not in result.best:
        return found
    mdr = result.best[result.main_arm].best(result.metric)
    for arm, record in result.best.items():
        baseline = record.best(result.metric)
        if arm == result.main_arm or mdr is None or baseline is None:
            continue
        found[f"gain/val_over_{arm}"] = mdr[0] - baseline[0]
        key = test_key(result.metric)
        if arm in result.test and result.main_arm in result.test:
            found[f"gain/test_over_{arm}"] = result.test[result.main_arm][key] - result.test[arm][key]
    return found


def _gain(result: SweepResult, arm: str, label: str) -> str:
    found = gains(result)
    text = f"MDR over {arm}: {found[f'gain/val_over_{arm}']:+.2f} points of {label} on validation"
    if f"gain/test_over_{arm}" in found:
        text += f", {found[f'gain/test_over_{arm}']:+.2f} on test"
    return text + "."


def markdown(result: SweepResult, load_command: str | None) -> str:
    """Return the description of the parent run in the MLflow UI."""
    label = metric_label(result.metric)
    lines = ["### " + verdict(result)[0], "", *[f"- {line}" for line in verdict(result)[1:]], ""]
    lines += [
        f"| trial | outcome | epochs | val {label} | test {label} | parameters |",
        "|" + " --- |" * 6,
    ]
    for row in table_rows(result):
        test = "" if row.test is None else f"{row.test:.2f}"
        lines.append(
            f"| {row.name} | {row.outcome} | {row.epochs} | {row.validation:.2f} | {test} | {row.parameters} |"
        )
    if load_command:
        lines += ["", "Load the winner:", "", "```python", load_command, "```"]
    return "\n".join(lines)
