"""Open the MLflow experiment of a sweep, and find the runs in it."""

from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mdr_tune.tracking.deleted import is_deleted, restore_experiment
from mdr_tune.util.errors import UserError

RUNS_A_PAGE = 1000


def open_experiment(client: MlflowClient, name: str, artifact_root: Path | None) -> str:
    """Return the id of the experiment `name`, which is created if there is none.

    A new experiment gets a folder for its artifacts in `artifact_root`. If `artifact_root` is None, MLflow chooses it.

    Raises:
        UserError: The experiment was deleted in MLflow. A deleted experiment keeps its name, so no other can have it.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = (artifact_root / name).as_uri() if artifact_root else None
        tags = {"mlflow.experimentKind": "custom_model_development"}  # model training, not GenAI
        return str(client.create_experiment(name, artifact_location=location, tags=tags))
    check_active(client, experiment)
    return str(experiment.experiment_id)


def check_active(client: MlflowClient, experiment: Experiment) -> None:
    """Raise UserError if `experiment` was deleted. The message has the command that restores it."""
    if is_deleted(experiment):
        raise UserError(
            f"the MLflow experiment {experiment.name!r} was deleted, and its name is still taken: choose another name, "
            f"or restore it: {restore_experiment(client, experiment.experiment_id)}"
        )


def child_runs(client: MlflowClient, experiment_id: str, parent_run_id: str, more: str = "") -> Iterator[Run]:
    """Yield the runs of trials of the launch with the run `parent_run_id`, the oldest first.

    Each call to the store reads `RUNS_A_PAGE` runs. `more` is a further condition in MLflow's filter language.
    """
    condition = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent_run_id}'" + (f" AND {more}" if more else "")
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            condition,
            max_results=RUNS_A_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def find_run(client: MlflowClient, run_id: str, store: str) -> Run:
    """Return the run `run_id`. `store` is the store's address, for the message.

    Raises:
        UserError: There is no such run.
        MlflowException: The store does not answer.
    """
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise UserError(
            f"{run_id}: there is no such run in {store}. A run's id is in its address in the MLflow UI; --tracking-uri "
            "names another store"
        ) from None
