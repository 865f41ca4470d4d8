"""Find experiments and runs that were deleted in MLflow, and build the commands that restore them.

MLflow keeps deleted experiments and runs until `mlflow gc` removes them.
"""

import shlex
import sys
from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage, Run, ViewType
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mdr_tune.records.recorded_sweep import SweepRecords
from mdr_tune.util.words import some, without_password

NAMED = 5
"""Largest number of deleted trials that a message names."""


def is_deleted(entity: Experiment | Run) -> bool:
    """Say whether `entity`, an experiment or a run, was deleted."""
    stage = entity.info.lifecycle_stage if isinstance(entity, Run) else entity.lifecycle_stage
    return bool(stage == LifecycleStage.DELETED)


def restore_experiment(client: MlflowClient, experiment_id: str) -> str:
    """Return the shell command that restores the deleted experiment `experiment_id` with its runs."""
    return _command(client, "experiments", "restore", "--experiment-id", experiment_id)


def restore_runs(client: MlflowClient, run_ids: Sequence[str]) -> str:
    """Return the shell command that restores the deleted runs `run_ids`."""
    if len(run_ids) == 1:
        return _command(client, "runs", "restore", "--run-id", run_ids[0])
    return f'for run in {" ".join(run_ids)}; do {_command(client, "runs", "restore", "--run-id")} "$run"; done'


def deleted_runs(client: MlflowClient, experiment_id: str, condition: str) -> list[Run]:
    """Return the deleted runs of an experiment that meet `condition`, an MLflow filter such as `tags.x = 'y'`."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], condition, ViewType.DELETED_ONLY, 1000, page_token=token)
        found += page
        if not (token := page.token):
            return found


def deleted_trials(client: MlflowClient, experiment_id: str, parent_run_id: str) -> list[Run]:
    """Return the deleted runs of trials of the launch whose run is `parent_run_id`."""
    return deleted_runs(client, experiment_id, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent_run_id}'")


def describe_deleted(client: MlflowClient, sweep: SweepRecords) -> str | None:
    """Return a sentence on the deleted trials of the launch `sweep` and how to restore them; None if none was deleted.

    The leaderboard and the report do not show deleted trials.
    """
    gone = deleted_trials(client, sweep.experiment_id, sweep.parent_run_id)
    if not gone:
        return None
    names = some(sorted(run.info.run_name for run in gone), NAMED)
    command = restore_runs(client, [run.info.run_id for run in gone])
    return f"Left out, since deleted in MLflow: {names}. To restore: {command}"


def _command(client: MlflowClient, *arguments: str) -> str:
    uri = shlex.quote(without_password(client.tracking_uri))
    return f"MLFLOW_TRACKING_URI={uri} {shlex.join([sys.executable, '-m', 'mlflow', *arguments])}"
