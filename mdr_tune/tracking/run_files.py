"""Files of a run, and the words and files that belong to a launch as a whole."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

REPORT, OTHER_REPORTS = "report", "reports"
"""Where a launch's run has its own report, and those that compare otherwise or have several sweeps."""


def read_text(client: MlflowClient, run_id: str, file: str) -> str:
    """Return a text that is an artifact of a run.

    Raises:
        MlflowException: It is not there.
        OSError: It is not there, in a local store.
    """
    with tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run_id, file, folder)).read_text(encoding="utf-8")


def log_figures(client: MlflowClient, parent_run_id: str, files: Iterable[Path]) -> None:
    """Keep figures as artifacts of a launch's run, in `figures/`; one of the same name is replaced."""
    for file in files:
        client.log_artifact(parent_run_id, str(file), "figures")


def log_report(client: MlflowClient, parent_run_id: str, folder: Path, place: str = REPORT) -> None:
    """Keep the files of a report, with their folders, below `place` of a launch's run.

    Files of the same name are replaced. What an older report had more, say a figure of another metric, stays beside
    them: MLflow's client deletes no artifacts. No page of the new report refers to it, and its `report.json` lists what
    is of the report.

    Args:
        place: `report` of the launch's own, plain report; `reports/NAME` of any other.
    """
    client.log_artifacts(parent_run_id, str(folder), place)


def set_description(client: MlflowClient, parent_run_id: str, markdown: str) -> None:
    """Set the description of a launch's run, which may have ended."""
    client.set_tag(parent_run_id, MLFLOW_RUN_NOTE, markdown)
