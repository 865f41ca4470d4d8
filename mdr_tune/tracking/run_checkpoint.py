"""Fetch the checkpoint that the run of a trial, or of an imported model, has in MLflow."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from mdr_tune.records.objectives import best_epoch_key
from mdr_tune.tracking.deleted import is_deleted, restore_runs
from mdr_tune.tracking.experiment import child_runs, find_run
from mdr_tune.tracking.rerun_record import REPEAT_FILE
from mdr_tune.tracking.run_files import read_text
from mdr_tune.tracking.tags import METRIC_TAG, OUTCOME_TAG, TRIAL_TAG
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import first_line, some, without_password

_FOLDER = "checkpoints"


class RunCheckpoint(NamedTuple):
    """A checkpoint that was fetched.

    Attributes:
        file: The checkpoint.
        title: Name of the experiment and of the trial, such as `mdr_levels/mdr-007`.
        kind: Which of the run's checkpoints it is: `best`, `last`, `imported`, or `epoch_` and a number.
        backbone: Name of the backbone; empty if the run has no such parameter.
        code: Folder that had the user's own modules; None if it is not known.
    """

    file: Path
    title: str
    kind: str
    backbone: str
    code: str | None


def fetch_checkpoint(client: MlflowClient, run_id: str, folder: Path) -> RunCheckpoint:
    """Download the checkpoint of the best epoch of the run `run_id` into `folder`; the last one if there is no other.

    Raises:
        UserError: There is no such run, it was deleted, or it has no checkpoint. The message says what to do.
    """
    run = _run(client, run_id)
    name = run.data.tags.get(TRIAL_TAG) or run.data.tags.get(MLFLOW_RUN_NAME, run_id)
    kept = [Path(entry.path).name for entry in client.list_artifacts(run_id, _FOLDER)]
    kind = _best_of(run, kept)
    if kind is None:
        raise UserError(_why_none(client, run, name))
    try:
        found = client.download_artifacts(run_id, f"{_FOLDER}/{kind}", str(folder))
    except (MlflowException, OSError) as error:
        raise UserError(f"its checkpoint cannot be had ({first_line(error)})") from error
    files = sorted(Path(found).glob("*.pt"))
    if not files:
        raise UserError("its checkpoint is gone from the store's artifacts")
    experiment = client.get_experiment(run.info.experiment_id).name
    backbone = run.data.params.get("backbone.name", "")
    return RunCheckpoint(files[0], f"{experiment}/{name}", kind, backbone, _code_of(client, run_id))


def _run(client: MlflowClient, run_id: str) -> Run:
    try:
        run = find_run(client, run_id, without_password(client.tracking_uri))
    except MlflowException as error:
        raise UserError(f"{run_id}: the MLflow store does not answer ({first_line(error)})") from error
    if is_deleted(run):
        raise UserError(f"{run_id}: was deleted in MLflow; restore it: {restore_runs(client, [run_id])}")
    return run


def _best_of(run: Run, kept: Sequence[str]) -> str | None:
    """Return which of the checkpoints `kept` is that of the best epoch, or the last one; None if there is neither."""
    if (one := next((name for name in ("best", "imported", "last") if name in kept), None)) is not None:
        return one
    of_epoch = {int(name.removeprefix("epoch_")): name for name in kept if name.startswith("epoch_")}
    keys = map(best_epoch_key, ("val/", "curves/"))
    best = [int(run.data.metrics[key]) for key in keys if key in run.data.metrics]
    return next((of_epoch[epoch] for epoch in best if epoch in of_epoch), None)


def _why_none(client: MlflowClient, run: Run, name: str) -> str:
    """Return a message on why `run`, of the trial `name`, has no checkpoint, and which run to give instead."""
    if METRIC_TAG in run.data.tags:
        trials = child_runs(client, run.info.experiment_id, run.info.run_id)
        known = some([f"{trial.info.run_name} {trial.info.run_id}" for trial in trials], 3)
        return f"is the run of a launch: give one of its trials{f', such as {known}' if known else ''}"
    if TRIAL_TAG in run.data.tags:
        outcome = run.data.tags.get(OUTCOME_TAG, "running").replace("_", " ")
        return f"the trial {name} ({outcome}) has no checkpoint in MLflow: choose another trial"
    return f"the run {name} has no checkpoint: give the run of a trial, or of an import"


def _code_of(client: MlflowClient, run_id: str) -> str | None:
    """Return the folder that had the user's own modules of the trial with the run `run_id`; None if it is gone."""
    try:
        code = json.loads(read_text(client, run_id, REPEAT_FILE)).get("code") or {}
    except (MlflowException, OSError, ValueError):
        return None
    folder = code.get("folder")
    return folder if isinstance(folder, str) and os.path.isdir(folder) else None
