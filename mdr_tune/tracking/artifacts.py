"""Files and words that belong to a launch as a whole."""

from collections.abc import Iterable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE


def log_figures(client: MlflowClient, parent_run_id: str, files: Iterable[Path]) -> None:
    """Keep figures as artifacts of a launch's run, in `figures/`; one of the same name is replaced."""
    for file in files:
        client.log_artifact(parent_run_id, str(file), "figures")


def log_report(client: MlflowClient, parent_run_id: str, folder: Path) -> None:
    """Keep the files of a report, with their folders, below `report/` of a launch's run; those there are replaced."""
    client.log_artifacts(parent_run_id, str(folder), "report")


def set_description(client: MlflowClient, parent_run_id: str, markdown: str) -> None:
    """Set the description of a launch's run, which may have ended."""
    client.set_tag(parent_run_id, MLFLOW_RUN_NOTE, markdown)
