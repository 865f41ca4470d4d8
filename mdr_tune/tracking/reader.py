"""Read the trials of a sweep from MLflow, while the sweep runs or afterwards, for the leaderboard and the figures."""

import json
import math
import re
from typing import cast

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from mdr_tune.records.metrics import EPOCHS_KEY, is_of_system
from mdr_tune.records.recorded_sweep import RecordedTrial, SweepRecords
from mdr_tune.records.trial_record import Outcome, TrialRecord
from mdr_tune.tracking import tags
from mdr_tune.tracking.deleted import deleted_runs, deleted_trials, is_deleted, restore_runs
from mdr_tune.tracking.experiment import check_active, child_runs
from mdr_tune.tracking.trial_runs import config_of, literal
from mdr_tune.util.errors import UserError
from mdr_tune.util.nearest_name import did_you_mean
from mdr_tune.util.words import not_utf_8, some

_DEFAULT_EXPERIMENT_ID = "0"


def read_sweep(
    client: MlflowClient, name: str, parent_run_id: str | None = None, with_histories: bool = False
) -> SweepRecords:
    """Return a launch of the sweep `name` with its trials.

    The launch is that of the run `parent_run_id`, or the newest one if this is None. One call to the store reads 1000
    trials. If `with_histories`, the values of the objectives in each epoch are read too, with two or three calls for
    each trial.

    Raises:
        UserError: There is no such sweep or launch, or it was deleted. The error's text names the known sweeps, or the
            command that restores what was deleted.
        MlflowException: The store does not answer.
    """
    experiment = None if not_utf_8(name) else client.get_experiment_by_name(name)
    if experiment is None:
        raise UserError(_unknown_sweep(client, name))
    check_active(client, experiment)
    parent = _launch(client, name, experiment.experiment_id, parent_run_id)
    metric, second = parent.data.tags[tags.METRIC_TAG], parent.data.tags.get(tags.SECOND_METRIC_TAG)
    runs: dict[str, Run] = {}
    for run in child_runs(client, experiment.experiment_id, parent.info.run_id):
        if tags.TRIAL_TAG in run.data.tags:
            runs.setdefault(run.data.tags[tags.TRIAL_TAG], run)
    trials = [_trial(run) for run in runs.values()]
    if with_histories:
        for trial in trials:
            trial.record.history = read_history(client, trial.run_id, [metric, *([second] if second else [])])
    return SweepRecords(
        name,
        str(experiment.experiment_id),
        parent.info.run_id,
        parent.info.status,
        metric,
        second,
        trials,
        finalists=literal(parent.data.params.get("search.finalists", "None")),
    )


def trial_run_id(client: MlflowClient, sweep: str, trial: str) -> str:
    """Return the id of the run of `trial`, such as `mdr-007`, in the newest launch of `sweep`; else raise UserError."""
    runs = {recorded.record.name: recorded.run_id for recorded in read_sweep(client, sweep).trials}
    if trial not in runs:
        alike = [name for name in runs if _without_zeros(name) == _without_zeros(trial)]
        hint = did_you_mean(trial, alike or list(runs))
        raise UserError(f"the newest launch of {sweep} has no trial {trial!r}.{hint} It has {some(list(runs), most=5)}")
    return runs[trial]


def _without_zeros(name: str) -> str:
    return re.sub(r"-0+", "-", name)


def _launch(client: MlflowClient, name: str, experiment_id: str, parent_run_id: str | None) -> Run:
    if parent_run_id is not None:
        try:
            run = client.get_run(parent_run_id)
        except MlflowException:
            run = None
        if run is None or run.info.experiment_id != experiment_id or tags.METRIC_TAG not in run.data.tags:
            raise UserError(f"run {parent_run_id} is not a launch of the sweep {name}")
        if is_deleted(run):
            raise UserError(
                f"run {parent_run_id} was deleted in MLflow; restore it: {restore_runs(client, [parent_run_id])}"
            )
        return run
    is_launch = f"tags.`{tags.METRIC_TAG}` != ''"
    found = client.search_runs([experiment_id], is_launch, max_results=1, order_by=["attributes.start_time DESC"])
    if not found:
        if gone := deleted_runs(client, experiment_id, is_launch):
            newest = max(gone, key=lambda run: int(run.info.start_time)).info.run_id
            trials = [run.info.run_id for run in deleted_trials(client, experiment_id, newest)]
            command = restore_runs(client, [newest, *trials])
            raise UserError(f"all launches of the sweep {name} were deleted in MLflow; restore the newest: {command}")
        raise UserError(f"the MLflow experiment {name} holds no launch of a sweep")
    return found[0]


def _unknown_sweep(client: MlflowClient, name: str) -> str:
    known = sorted(e.name for e in client.search_experiments() if e.experiment_id != _DEFAULT_EXPERIMENT_ID)
    if not known:
        return f"no sweep {name!r}: the MLflow store is empty; name another with --tracking-uri or --storage"
    return f"no sweep {name!r} in the MLflow store.{did_you_mean(name, known)} Known: {', '.join(known)}"


def _trial(run: Run) -> RecordedTrial:
    tagged = run.data.tags
    name = tagged[tags.TRIAL_TAG]
    record = TrialRecord(
        name=name,
        arm=tagged[tags.ARM_TAG],
        number=int(tagged[tags.NUMBER_TAG]),
        seed_index=int(tagged[tags.SEED_INDEX_TAG]),
        parameters=json.loads(tagged[tags.PARAMETERS_TAG]),
        config=config_of(run.data.params),
        outcome=cast(Outcome, tagged[tags.OUTCOME_TAG]),
        error=tagged.get(tags.WHY_TAG),
        changes=tags.changes_of(tagged),
        notes=tagged[tags.NOTES_TAG].split("; ") if tags.NOTES_TAG in tagged else [],
        device=tagged.get(tags.DEVICE_TAG),
    )
    metrics = {key: value for key, value in run.data.metrics.items() if math.isfinite(value) and not is_of_system(key)}
    return RecordedTrial(record, run.info.run_id, metrics)


def read_history(client: MlflowClient, run_id: str, metrics: list[str]) -> list[dict[str, float]]:
    """Return the values of `metrics` in each epoch of the run `run_id`. Each entry also has the key `epoch`.

    This takes one call to the store for each metric, and one for the numbers of the epochs. Values that are not finite
    are missing, since they were not written.
    """
    epochs: dict[int, dict[str, float]] = {}
    for key in [*metrics, EPOCHS_KEY]:
        for point in client.get_metric_history(run_id, key):
            epochs.setdefault(point.step, {})[key] = point.value
    return [
        {"epoch": float(step), **{key: values[key] for key in metrics if key in values}}
        for step, values in sorted(epochs.items())
    ]
