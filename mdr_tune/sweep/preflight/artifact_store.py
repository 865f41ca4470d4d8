"""Check before the training starts that the artifacts of MLflow runs can be written from this machine."""

import os
import tempfile
import uuid
from pathlib import Path

from mdr_tune.sweep.preflight.problems import Problem
from mdr_tune.sweep.stores import Stores


def check_artifacts(stores: Stores, sweep_name: str) -> list[Problem]:
    """Write, read and delete an artifact where the sweep's artifacts will be; return a problem if that fails.

    `sweep_name` is also the name of the sweep's MLflow experiment. If the MLflow store of `stores` is local, nothing is
    tested: its artifacts are in the storage folder, which is checked elsewhere.
    """
    if stores.artifact_root is not None:
        return []
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # as for the sweep: retries take silent minutes
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    client = MlflowClient(stores.tracking_uri)
    try:
        experiment = client.get_experiment_by_name(sweep_name) or client.get_experiment("0")
        name = f"preflight-{uuid.uuid4().hex}"
        place = get_artifact_repository(f"{experiment.artifact_location.rstrip('/')}/{name}", stores.tracking_uri)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "written.txt")
            file.write_text(name)
            place.log_artifact(str(file))
            read = place.download_artifacts("written.txt", str(Path(folder)))
            is_whole = Path(read).read_text() == name
        place.delete_artifacts()
    except Exception as error:  # from whatever library the place needs
        why = " ".join(str(error).split())[:600]
        return [_problem(f"artifacts cannot be written through {stores.shown_uri}: {why}")]
    return [] if is_whole else [_problem("an artifact that was written was read as something else")]


def _problem(what: str) -> Problem:
    fix = "look at the server's log; it needs --serve-artifacts, and rights for its --artifacts-destination"
    return Problem("MLflow", "this node", what, fix)
