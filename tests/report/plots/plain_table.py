"""A table computed in the plainest way, so that the figures' tests need no other code of the report."""

import statistics
from dataclasses import replace
from typing import Any

from scipy import stats

from mdr_tune.records.recorded_sweep import RecordedTrial, SweepEvidence
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.report.rows import AblationTable, Difference, Estimate, Row

METRIC, SWEEP_METRIC = "test/recall_at_1", "val/recall_at_1"


def estimate(values: dict[int, float]) -> Estimate:
    found = list(values.values())
    mean, n = statistics.fmean(found), len(found)
    if n < 2:
        return Estimate(mean, None, None, n, values)
    half = stats.t.ppf(0.975, n - 1) * statistics.stdev(found) / n**0.5
    return Estimate(mean, mean - half, mean + half, n, values)


def plain_table(evidence: SweepEvidence) -> AblationTable:
    """Return a row for each configuration; rows with MDR are compared with the others of their embedding size."""
    groups: dict[str, list[Any]] = {}
    for trial in evidence.sweep.trials:
        groups.setdefault(trial.record.config_name, []).append(trial)
    rows = [_row(name, trials) for name, trials in groups.items()]
    metrics = [f"test/recall_at_{k}" for k in (1, 2, 4, 8)]
    compared = [replace(row, differences=_differences(row, rows)) for row in rows]
    return AblationTable(evidence.sweep.name, "glyphs", METRIC, metrics, compared, True, [])


def made_table(rows: list[Row]) -> AblationTable:
    """Return a table of rows that no trial is behind."""
    return AblationTable("made", "glyphs", METRIC, [METRIC], rows, True, [])


def made_row(name: str, method: str, setting: str, mean: float, **values: Any) -> Row:
    """Return a row of three seeds about a mean; `values` with `__` for dots."""
    keys = {key.replace("__", "."): value for key, value in values.items()}
    found = {METRIC: estimate({0: mean - 1, 1: mean, 2: mean + 1})}
    return Row(trials := made_trials(name, 3), SWEEP_METRIC, trials, method, setting, keys, found)


def made_trials(name: str, seeds: int) -> list[RecordedTrial]:
    """Return trials of a configuration that say nothing but their seeds."""
    names = [name if seed == 0 else f"{name}.{seed + 1}" for seed in range(seeds)]
    records = [TrialRecord(one, "mdr", 0, {}, {"seed": seed}, seed) for seed, one in enumerate(names)]
    return [RecordedTrial(record, "", {}) for record in records]


def _row(name: str, trials: list[Any]) -> Row:
    arm = name.rsplit("-", 1)[0]
    size = trials[0].record.parameters["embedding.size"]
    done = {trial.record.seed: trial for trial in trials if trial.record.outcome == "completed"}
    keys = [key for key in trials[0].metrics if key.startswith("test/")]
    return Row(
        trials,
        SWEEP_METRIC,
        list(done.values()),
        "triplet + MDR" if arm == "mdr" else arm,
        f"embedding size {size}",
        {"embedding.size": size},
        {key: estimate({seed: trial.metrics[key] for seed, trial in done.items()}) for key in keys},
    )


def _differences(row: Row, rows: list[Row]) -> list[Difference]:
    if not row.name.startswith("mdr"):
        return []
    own = row.estimates[METRIC].values
    found = []
    for other in rows:
        if other.setting == row.setting and other is not row:
            theirs = other.estimates[METRIC].values
            gap = estimate({seed: own[seed] - theirs[seed] for seed in own if seed in theirs})
            known = gap.low is not None and gap.high is not None
            apart = known and (gap.low or 0.0) * (gap.high or 0.0) > 0
            verdict: Any = ("better" if gap.mean > 0 else "worse") if apart else "not separated"
            found.append(Difference(other.name, other.method, gap, 0.01, 0.02, verdict if known else "not known"))
    return found
