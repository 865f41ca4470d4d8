"""Replace `start_from: {sweep: NAME, best: 5}` in a sweep by the five best configurations of the sweep NAME."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mdr_tune.config.arms import ABLATION_ARM, MAIN_ARM
from mdr_tune.config.points import point_of_trial
from mdr_tune.config.space import apply_settings
from mdr_tune.config.sweep import SweepConfig, WarmStartConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.journal import FILE as JOURNAL
from mdr_tune.records.journal import read_records
from mdr_tune.records.trial_record import TrialRecord, by_configuration, mean_over_seeds, standing
from mdr_tune.sweep.stored_launches import PLAN
from mdr_tune.util.errors import UserError
from mdr_tune.util.nearest_name import did_you_mean
from mdr_tune.util.words import count


def resolve(sweep: SweepConfig, storage: Path) -> tuple[SweepConfig, list[str]]:
    """Replace a reference to another sweep in `start_from` of `sweep` by the best points of that other sweep.

    The newest launch of the other sweep in the folder `storage` is read.

    Returns:
        The sweep with the points in place of the reference, and notes for the user on what was taken and what could not
        be taken. A sweep without such a reference is returned unchanged.

    Raises:
        UserError: There is no such sweep, it cannot be read, or no trial of it has a value that this space can draw.
    """
    source = sweep.start_from
    if not isinstance(source, WarmStartConfig):
        return sweep, []
    folder = _newest_launch(storage / "sweeps", source.sweep)
    metric, finalists = _metric_and_finalists(folder / PLAN)
    points: list[dict[str, Any]] = []
    missing: dict[str, None] = {}
    for record, epoch in _best_first(read_records(folder), metric, finalists):
        try:
            point, without = point_of_trial(sweep.space, _trial_at(record, epoch))
        except ValidationError:
            without, point = [f"{record.name}, which is no valid trial any more"], {}
        missing.update(dict.fromkeys(without))
        if point and point not in points:
            points.append(point)
        if len(points) == source.best:
            break
    if not points:
        raise UserError(f"start_from.sweep: no trial of {source.sweep} has a value that this space can draw ({folder})")
    notes = [f"starts from {count(len(points), 'configuration')} of {source.sweep}, launch {folder.name}"]
    if missing:
        notes.append(f"start_from: this space cannot draw {', '.join(missing)}; such keys are drawn anew")
    return sweep.model_copy(update={"start_from": points}), notes


def _metric_and_finalists(plan: Path) -> tuple[str, int | None]:
    """Return the metric of the sweep whose plan.json is `plan`, and its number of finalists, None if it has none."""
    try:
        sweep = json.loads(plan.read_text())["sweep"]
        return str(sweep["metric"]), sweep.get("search", {}).get("finalists")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"start_from.sweep: {plan} cannot be read ({error}): nothing can be taken from it") from None


def _newest_launch(sweeps: Path, name: str) -> Path:
    launches = [plan.parent for plan in sorted(sweeps.glob(f"*/*/{PLAN}")) if (plan.parent / JOURNAL).exists()]
    mine = [folder for folder in launches if folder.parent.name == name]
    if not mine:
        known = sorted({folder.parent.name for folder in launches})
        there = did_you_mean(name, known) + (f" There: {', '.join(known)}." if known else "")
        raise UserError(f"start_from.sweep: no sweep {name} in {sweeps}; --storage names another folder.{there}")
    return mine[-1]


def _best_first(records: list[TrialRecord], metric: str, finalists: int | None) -> list[tuple[TrialRecord, int]]:
    """Return one record and its best epoch by `metric` for each configuration of the main arm, the best one first.

    The record is of the first seed that has a value. Configurations are compared by the mean over their seeds that ran
    to their end or, if none did, by the value of the returned record. `standing` explains `finalists`.
    """
    scored: list[tuple[tuple[bool, float], TrialRecord, int]] = []
    for seeds in by_configuration(record for record in records if record.arm in (MAIN_ARM, ABLATION_ARM)).values():
        measured = [(record, best) for record in seeds if (best := record.best(metric)) is not None]
        if measured:
            record, best = measured[0]
            value = mean_over_seeds(seeds, metric) or (best[0], 1)
            scored.append((standing(value, finalists), record, best[1]))
    return [(record, epoch) for _, record, epoch in sorted(scored, key=lambda entry: entry[0], reverse=True)]


def _trial_at(record: TrialRecord, epoch: int) -> TrialConfig:
    """Return the configuration that a trial had in `epoch`; population based training may have changed it before."""
    changed = [change.parameters for change in record.changes if change.epoch < epoch]
    return apply_settings(TrialConfig.model_validate(record.config), {k: v for p in changed for k, v in p.items()})
