"""Read and write artifacts of a run, and set the description of a launch's run."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

REPORT, OTHER_REPORTS = "report", "reports"
"""Artifact folders of a launch's run: `report` has the launch's own report. `reports` has all other reports, which
are on several sweeps, or have a baseline that the user chose."""


def read_text(client: MlflowClient, run_id: str, file: str) -> str:
    """Return the text of the artifact `file` of the run `run_id`.

    Raises:
        MlflowException: There is no such artifact.
        OSError: There is no such artifact in a local store.
    """
    with tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run_id, file, folder)).read_text(encoding="utf-8")


def log_figures(client: MlflowClient, parent_run_id: str, files: Iterable[Path]) -> None:
    """Upload the figures `files` to the artifact folder `figures` of the launch's run `parent_run_id`."""
    for file in files:
        client.log_artifact(parent_run_id, str(file), "figures")


def log_report(client: MlflowClient, parent_run_id: str, folder: Path, place: str = REPORT) -> None:
    """Upload the report in `folder` to the artifact folder `place` of the launch's run `parent_run_id`.

    A file replaces one of the same name. Other files of an older report stay, such as a figure of another metric,
    because MLflow's client cannot delete artifacts. No page of the new report refers to them, and its `report.json`
    lists only files of the new report. `place` is `report` for the launch's own report, and `reports/NAME` for any
    other.
    """
    client.log_artifacts(parent_run_id, str(folder), place)


def set_description(client: MlflowClient, parent_run_id: str, markdown: str) -> None:
    """Set the description of the launch's run `parent_run_id` to `markdown`. The run may have ended already."""
    client.set_tag(parent_run_id, MLFLOW_RUN_NOTE, markdown)
