"""Read from MLflow what a report needs: whole histories, distances, and evaluations on the test classes.

MLflow's client reads one metric of one run with each call. Trials are read in threads: with a server on the same
machine, 60 trials took 12 s in four threads, and 29 s one after another. Two other functions of MLflow were tried and
are not used: `get_metric_history_bulk` exists for SQL stores only; `get_metric_history_bulk_interval` is private, thins
out long histories, and took longer.
"""

import datetime
import json
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mdr_tune.records.distance_snapshot import DistanceSnapshot
from mdr_tune.records.metrics import is_measured
from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.recorded_sweep import RecordedTrial, SweepEvidence, SweepFacts, SweepRecords
from mdr_tune.tracking.deleted import deleted_trials, describe_deleted
from mdr_tune.tracking.query_scores import DETAILS_FOLDER, read_details
from mdr_tune.tracking.reader import read_history, read_sweep
from mdr_tune.tracking.rerun_record import REPEAT_FILE
from mdr_tune.tracking.run_files import read_text
from mdr_tune.tracking.tracker import DISTANCES_FILE
from mdr_tune.tracking.trial_runs import literal
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import first_line

THREADS = 4
_GONE = "RESOURCE_DOES_NOT_EXIST"
T = TypeVar("T")


@dataclass(frozen=True)
class _TrialEvidence:
    """A trial with its history and distances, as they were read from its run.

    Attributes:
        details: Results of the trial's evaluation on the test classes; None if the run has none that can be read.
        repeats: Whether the run has the artifact `REPEAT_FILE`, with what is needed to repeat the trial.
    """

    trial: RecordedTrial
    details: TestDetails | None
    repeats: bool


def read_evidence(client: MlflowClient, name: str, parent_run_id: str | None = None) -> SweepEvidence:
    """Return everything that MLflow has about a launch of the sweep `name`, as material for a report.

    The launch is that of the run `parent_run_id`, or the newest one if this is None. Facts that an earlier version of
    this program did not record are left out. A trial is left out if its run has no parameters yet, or was deleted while
    the others were read. An artifact that cannot be read is left out, with a note in the trial's record.

    Raises:
        UserError: There is no such sweep or launch, or the launch has no trial.
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
    """Read the history, distances and test details of `trial` from its run; None if the run was deleted meanwhile."""
    record, run_id = trial.record, trial.run_id
    try:
        record.history = read_history(client, run_id, [key for key in trial.metrics if is_measured(key)])
        files = {entry.path for entry in client.list_artifacts(run_id)}
    except MlflowException as error:
        if error.error_code == _GONE:
            return None
        raise
    details = None
    if DISTANCES_FILE in files:
        record.distances = _readable(trial, lambda: _distances(client, run_id)) or []
    if DETAILS_FOLDER in files:
        details = _readable(trial, lambda: _details(client, run_id))
    return _TrialEvidence(trial, details, REPEAT_FILE in files)


def _distances(client: MlflowClient, run_id: str) -> list[DistanceSnapshot]:
    return [DistanceSnapshot.from_dict(values) for values in json.loads(read_text(client, run_id, DISTANCES_FILE))]


def _details(client: MlflowClient, run_id: str) -> TestDetails:
    with tempfile.TemporaryDirectory() as folder:
        return read_details(Path(client.download_artifacts(run_id, DETAILS_FOLDER, folder)))


def _readable(trial: RecordedTrial, read: Callable[[], T]) -> T | None:
    """Return what `read` reads from an artifact of `trial`. If that fails, return None and add a note to the trial."""
    try:
        return read()
    except (MlflowException, OSError, ValueError, TypeError, KeyError) as error:
        trial.record.notes.append(f"an artifact of run {trial.run_id} cannot be read: {first_line(error)}")
        return None


def _repeat(client: MlflowClient, run_id: str | None) -> dict[str, Any]:
    """Return the content of REPEAT_FILE in the run `run_id`; empty if `run_id` is None or the file is not readable."""
    if run_id is None:
        return {}
    try:
        found: dict[str, Any] = json.loads(read_text(client, run_id, REPEAT_FILE))
    except (MlflowException, OSError, ValueError):
        return {}
    return found


def read_facts(client: MlflowClient, sweep: SweepRecords, repeat: Mapping[str, Any]) -> SweepFacts:
    """Return the circumstances of the launch `sweep`, such as its times, seeds and package versions.

    A fact that an earlier version of this program did not record is empty. `repeat` is the content of one trial's
    REPEAT_FILE, made by `provenance.repeat_info`; empty if no trial has one.
    """
    run = client.get_run(sweep.parent_run_id)
    params, configs = run.data.params, [record.config for record in sweep.records]
    ended = run.info.end_time if sweep.status != "RUNNING" else None  # a resumed launch still has an earlier end
    return SweepFacts(
        started=_time(run.info.start_time),
        ended=None if ended is None else _time(ended),
        command=_text(client, sweep.parent_run_id, "command.txt").strip(),
        protocol=next((str(config["protocol"]) for config in configs if "protocol" in config), "validation"),
        sampler=params.get("search.sampler", ""),
        seeds=_seeds(params, sweep),
        epochs=sorted({int(config["epochs"]) for config in configs if "epochs" in config}),
        workers_per_trial=int(params.get("workers_per_trial", 1)),
        images=_below("images.", params),
        versions=_versions(params, repeat),
        commit=_commit(repeat),
        devices=sorted({record.device for record in sweep.records if record.device is not None}),
        sweep_file=_text(client, sweep.parent_run_id, "sweep.yaml"),
        folds=int(params["search.folds"]) if "search.folds" in params else None,
    )


def _time(ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ms / 1000)


def _text(client: MlflowClient, run_id: str, file: str) -> str:
    """Return the text of the artifact `file` of a run; empty if the artifact cannot be read."""
    try:
        return read_text(client, run_id, file)
    except (MlflowException, OSError):
        return ""


def _seeds(params: Mapping[str, str], sweep: SweepRecords) -> list[int]:
    """Return the training seeds that the sweep file lists; if it lists none, the seeds of the trials."""
    listed = literal(params.get("search.seeds", ""))
    return listed if isinstance(listed, list) else sorted({record.seed for record in sweep.records})


def _below(prefix: str, params: Mapping[str, str]) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in params.items() if key.startswith(prefix)}


def _versions(params: Mapping[str, str], repeat: Mapping[str, Any]) -> dict[str, str]:
    """Return package versions: all that a trial recorded in `repeat`, or else the few in the launch's `params`."""
    found = {package: version for package, version in repeat.get("versions", {}).items() if version is not None}
    return found or _below("versions.", params)


def _commit(repeat: Mapping[str, Any]) -> str | None:
    source = repeat.get("source")
    if source is None:
        return None
    return str(source["commit"]) + (" + changes" if source["dirty"] else "")
