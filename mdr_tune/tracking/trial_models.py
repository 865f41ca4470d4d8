"""Give each trial a logged model in MLflow, with its metrics and the data sets that they were measured on.

The logged model has no files: the weights stay where they are, in the checkpoint among the artifacts of the trial's
run. Only the winner's gets files, when it is registered (`tracking/champion.py`).
"""

import re
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL, MLFLOW_RUN_NOTE, MLFLOW_SOURCE_NAME

MODEL_TAG = "mdr_tune.model"
"""Tag on a trial's run with the id of the trial's logged model. It is written when the logged model is complete."""
MODEL_TYPE = "embedding"
_FILES = "A model that was registered has files here too, from which MLflow loads it."


def open_model(
    client: MlflowClient,
    experiment_id: str,
    run_id: str,
    name: str,
    params: Mapping[str, str],
    step: int,
    checkpoint: str,
    may_exist: bool,
) -> str:
    """Return the id of the logged model of the trial whose run is `run_id`; create the model if it is missing.

    Args:
        client: Client of the store.
        experiment_id: Id of the experiment of the run.
        run_id: Id of the trial's run.
        name: Name of the trial, and of the model, in which a dash stands for a dot.
        params: Parameters of the model.
        step: Epoch that the model's weights are of.
        checkpoint: Folder of the weights among the artifacts of the run, such as `checkpoints/best`.
        may_exist: Whether an earlier attempt may have created the model.
    """
    earlier = find_model(client, experiment_id, run_id) if may_exist else None
    named = re.sub(r"[/:.%\"']", "-", name)  # what MLflow forbids in the names of models
    if earlier is None:
        where = f"[{checkpoint}](#/experiments/{experiment_id}/runs/{run_id}/artifacts/{checkpoint})"
        note = f"The weights after epoch {step} are in the artifacts of the run of {name}: {where}. {_FILES}"
        tags = {MLFLOW_MODEL_IS_EXTERNAL: "true", MLFLOW_RUN_NOTE: note, MLFLOW_SOURCE_NAME: "mdr_tune"}
        found: str = client.create_logged_model(experiment_id, named, run_id, tags, dict(params), MODEL_TYPE).model_id
        has_link = False
    else:
        found, outputs = earlier.model_id, client.get_run(run_id).outputs
        has_link = outputs is not None and found in [model.model_id for model in outputs.model_outputs]
    if not has_link:  # a second link of the same model is an error
        client.log_outputs(run_id, [LoggedModelOutput(found, step)])
    client.finalize_logged_model(found, "READY")
    return found


def find_model(client: MlflowClient, experiment_id: str, run_id: str) -> LoggedModel | None:
    """Return the logged model that the run `run_id` made; None if there is none."""
    found = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'", max_results=1)
    return found[0] if found else None


def of_run(run_id: str, model_id: str | None) -> dict[str, str]:
    """Return the arguments with which MLflow logs files: into the logged model `model_id`, or a new one of `run_id`.

    MLflow must not get the run of a logged model that exists: it would link the two a second time, which is an error.
    """
    return {"name": "model", "run_id": run_id} if model_id is None else {"model_id": model_id}


def has_files(tags: Mapping[str, str]) -> bool:
    """Return whether the logged model with `tags` has files of its own, from which it can be loaded."""
    return tags.get(MLFLOW_MODEL_IS_EXTERNAL) != "true"
