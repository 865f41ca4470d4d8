"""The report of a launch that came to its end: made of what MLflow has, as `mdr-tune report` makes it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdr_tune.report.ablation_table import AblationTable

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class LaunchReport:
    """What was found, with intervals.

    Attributes:
        table: Of an ablation all configurations; of a search the best of each arm.
        sentences: What MDR gained, in words.
        page: The report's page.
    """

    table: AblationTable
    sentences: list[str]
    page: Path


def report_launch(
    client: "MlflowClient",
    name: str,
    parent_run_id: str,
    folder: Path,
    load_command: str | None,
    stage: Callable[[str], None],
) -> LaunchReport:
    """Write the report of a launch, keep it in its MLflow run, and describe the run by it.

    Args:
        name: Of the sweep.
        folder: Where it is written; a report that is there is replaced.
        load_command: Lines that load the champion, if there is one.
        stage: Is told what takes a while.

    Raises:
        Exception: The store or the disk refuses.
    """
    from mdr_tune.report.ablation import summary_sentences
    from mdr_tune.report.build import build_report
    from mdr_tune.report.description import ablation_description
    from mdr_tune.tracking.artifacts import log_report, set_description
    from mdr_tune.tracking.evidence import read_evidence

    stage("writing the report")
    evidence = read_evidence(client, name, parent_run_id)
    report = build_report([evidence], folder, progress=stage)
    (table,) = report.tables
    sentences = summary_sentences(evidence, table)
    log_report(client, parent_run_id, folder)
    if table.is_grid:
        set_description(client, parent_run_id, ablation_description(table, sentences, load_command))
    return LaunchReport(table, sentences, report.files[0])
