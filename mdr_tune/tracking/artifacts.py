"""Files that belong to a launch as a whole."""

from collections.abc import Iterable
from pathlib import Path

from mlflow import MlflowClient


def log_figures(client: MlflowClient, parent_run_id: str, files: Iterable[Path]) -> None:
    """Keep figures as artifacts of a launch's run, in `figures/`; one of the same name is replaced."""
    for file in files:
        client.log_artifact(parent_run_id, str(file), "figures")
