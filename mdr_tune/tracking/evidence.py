"""All that a report is made of, read from MLflow: whole histories, distances, what was found on the test classes.

MLflow's client reads one metric of one run at a time. That is quick: 0.9 ms from sqlite. (`get_metric_history_bulk`
exists for SQL stores only; `get_metric_history_bulk_interval` for all, but it is private, thins out what is long, and
took longer here.) On a server on the same machine 60 trials took 29 s one after another, 12 s in four threads.
"""

import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mdr_tune.records.distance_snapshot import DistanceSnapshot
from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.recorded_sweep import RecordedTrial, SweepEvidence
from mdr_tune.tracking.deleted import deleted_trials, describe_deleted
from mdr_tune.tracking.details_files import read_details
from mdr_tune.tracking.epochs import is_measured
from mdr_tune.tracking.facts import read_facts
from mdr_tune.tracking.query_scores import DETAILS_FOLDER
from mdr_tune.tracking.reader import read_history, read_sweep
from mdr_tune.tracking.rerun import REPEAT_FILE
from mdr_tune.tracking.tracker import DISTANCES_FILE
from mdr_tune.util.errors import UserError

THREADS = 4
_GONE = "RESOURCE_DOES_NOT_EXIST"
T = TypeVar("T")


@dataclass(frozen=True)
class _TrialEvidence:
    """One trial with its history and distances; what else its run has."""

    trial: RecordedTrial
    details: TestDetails | None
    repeats: bool
    """Whether it has a REPEAT_FILE."""


def read_evidence(client: MlflowClient, name: str, parent_run_id: str | None = None) -> SweepEvidence:
    """Return a launch of a sweep, the newest unless one is given, with all that was recorded of it.

    What an earlier version did not record is left out. So is a trial whose run was deleted meanwhile, or that has no
    parameters yet; what is there but cannot be read is left out with a note in the trial's record.

    Args:
        name: Of the sweep, which is the experiment's.
        parent_run_id: The run of the launch.

    Raises:
        UserError: There is no such sweep or launch, or no trial in it.
        MlflowException: The store does not answer.
    """
    sweep = read_sweep(client, name, parent_run_id)
    begun = [trial for trial in sweep.trials if "seed" in trial.record.config]  # its parameters are written
    with ThreadPoolExecutor(THREADS, "read-mlflow") as pool:
        found = [one for one in pool.map(lambda trial: _read_trial(client, trial), begun) if one is not None]
    if not found:
        deleted = f". {gone}" if (gone := describe_deleted(client, sweep)) else " yet"
        raise UserError(f"{name}: no trial is recorded, so that there is nothing to report{deleted}")
    gone_runs = deleted_trials(client, sweep.experiment_id, sweep.parent_run_id)
    sweep = replace(sweep, trials=[one.trial for one in found])
    repeated = next((one.trial.run_id for one in found if one.repeats), None)
    facts = read_facts(client, sweep, _repeat(client, repeated))
    details = {one.trial.record.name: one.details for one in found if one.details is not None}
    return SweepEvidence(sweep, facts, details, tuple(run.info.run_name for run in gone_runs))


def _read_trial(client: MlflowClient, trial: RecordedTrial) -> _TrialEvidence | None:
    """Read what a trial's run has; None if it was deleted meanwhile."""
    record, run_id = trial.record, trial.run_id
    try:
        record.history = read_history(client, run_id, [key for key in trial.metrics if is_measured(key)])
        files = {entry.path for entry in client.list_artifacts(run_id)}
    except MlflowException as error:
        if error.error_code == _GONE:
            return None
        raise
    details = None
    with tempfile.TemporaryDirectory() as folder:
        if DISTANCES_FILE in files:
            record.distances = _readable(trial, lambda: _distances(client, run_id, folder)) or []
        if DETAILS_FOLDER in files:
            details = _readable(trial, lambda: _details(client, run_id, folder))
    return _TrialEvidence(trial, details, REPEAT_FILE in files)


def _distances(client: MlflowClient, run_id: str, folder: str) -> list[DistanceSnapshot]:
    text = Path(client.download_artifacts(run_id, DISTANCES_FILE, folder)).read_text(encoding="utf-8")
    return [DistanceSnapshot.from_dict(values) for values in json.loads(text)]


def _details(client: MlflowClient, run_id: str, folder: str) -> TestDetails:
    return read_details(Path(client.download_artifacts(run_id, DETAILS_FOLDER, folder)))


def _readable(trial: RecordedTrial, read: Callable[[], T]) -> T | None:
    """Return what is read of an artifact; if it is damaged, or lost from the artifact store, the record says so."""
    try:
        return read()
    except (MlflowException, OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        trial.record.notes.append(f"an artifact of run {trial.run_id} cannot be read: {reason}")
        return None


def _repeat(client: MlflowClient, run_id: str | None) -> dict[str, Any]:
    """Return what a trial's REPEAT_FILE says; nothing if there is none that can be read."""
    if run_id is None:
        return {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            text = Path(client.download_artifacts(run_id, REPEAT_FILE, folder)).read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text)
    except (MlflowException, OSError, ValueError):
        return {}
    return found
