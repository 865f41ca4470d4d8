"""What a trial's run gets of an evaluation on the test classes: metrics, the details as files, and that it happened."""

import datetime
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

from mdr_tune.records.query_details import TestDetails
from mdr_tune.tracking.details_files import write_details
from mdr_tune.tracking.epochs import entries_of
from mdr_tune.tracking.tags import CURVES_READ, TEST_READ_TAG

DETAILS_FOLDER = "test"
"""Below it a run has the files of `details_files`."""


@dataclass(frozen=True)
class TestScores:
    """One evaluation of a trial.

    Attributes:
        epoch: Whose checkpoint was evaluated.
        metrics: By name, `test/recall_at_1`.
        details: What was found query by query; None if an earlier version of this program evaluated it.
        when_ms: When the classes were read.
        has_curves: They were read after every epoch before.
    """

    __test__ = False  # for pytest: not a test

    epoch: int
    metrics: Mapping[str, float]
    details: TestDetails | None
    when_ms: int
    has_curves: bool

    def are_in(self, client: MlflowClient, run_id: str) -> bool:
        """Say whether a run has them, from an earlier session: the metrics are written last, and in one call."""
        first = next((key for key, value in self.metrics.items() if math.isfinite(value)), None)
        return first is not None and any(point.step == self.epoch for point in client.get_metric_history(run_id, first))

    def write_details(self, client: MlflowClient, run_id: str) -> None:
        """Write the details below `DETAILS_FOLDER` of a run; files that are there are replaced."""
        if self.details is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            write_details(self.details, Path(folder))
            client.log_artifacts(run_id, folder, DETAILS_FOLDER)

    def entries(self) -> list[Metric | RunTag]:
        """Return the metrics, and the tag that says when the test classes were read."""
        when = datetime.datetime.fromtimestamp(self.when_ms / 1000).isoformat(" ", "seconds")
        before = f"{CURVES_READ}; " if self.has_curves else ""
        read = RunTag(TEST_READ_TAG, f"{before}{when}, after epoch {self.epoch}")
        return [*entries_of(self.metrics, self.epoch, self.when_ms), read]
