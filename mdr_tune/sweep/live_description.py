"""Update the description of the launch's MLflow run while the sweep runs, so that MLflow shows how far the sweep is."""

import datetime
import logging
import time
from collections.abc import Callable, Iterable, Mapping

from mdr_tune.config.arms import Arm
from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.trial_record import SweepResult, TrialRecord
from mdr_tune.report.description import running_description
from mdr_tune.report.rows import best_so_far

logger = logging.getLogger(__name__)

EVERY_S = 30.0


class LiveDescription:
    """Listener of a sweep that describes it as it runs.

    A new stage is described at once. Other events are described at most every `every_s` seconds. A failure to write is
    logged, not raised: a description is not worth a sweep.

    Args:
        write: Sets the description and returns at once, such as `Tracker.note`.
        metric: Name of the sweep's metric.
        main_arm: Name of the main arm, the search that the sweep file describes.
        total: Number of trials of all arms, further seeds included.
        shows_all: Whether every configuration gets a row, as for a grid, instead of the best ones only.
        records: Records of the trials of earlier sessions.
        every_s: Shortest time between two descriptions, in seconds.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        metric: str,
        main_arm: str,
        total: int,
        shows_all: bool = False,
        records: Iterable[TrialRecord] = (),
        every_s: float = EVERY_S,
    ) -> None:
        self._write, self._metric, self._total, self._every_s = write, metric, total, every_s
        self._main_arm, self._shows_all = main_arm, shows_all
        self._records = {record.name: record for record in records}
        self._tests: dict[str, dict[str, float]] = {}
        self._head, self._doing = "Running", "starting"
        self._written_at: float | None = None
        self._is_behind = False

    def stage(self, text: str) -> None:
        """Describe at once the stage of the sweep that begins."""
        self._doing = text
        self._describe(at_once=True)

    def end(self, how: str, why: str) -> None:
        """Describe at once a sweep that ends before its time.

        Args:
            how: `Interrupted` or `Failed`.
            why: Reason, if `how` does not say enough; else "".
        """
        self._head, self._doing = how, why.splitlines()[0] if why else "--resume goes on with it"
        self._describe(at_once=True)

    def arm_started(self, arm: Arm) -> None:
        """Name the arm in the next description."""
        self._doing = f"searching {arm.name}"

    def trial_started(self, record: TrialRecord) -> None:
        """Count the trial among those of the sweep."""
        self._records[record.name] = record

    def epoch_finished(self, record: TrialRecord) -> None:
        """Describe the sweep if an earlier event came too soon after the last description."""
        if self._is_behind:
            self._describe()

    def trial_noted(self, record: TrialRecord) -> None:
        """Do nothing: notes are not described."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Describe the sweep so far."""
        self._records[record.name] = record
        self._describe()

    def test_scored(
        self, record: TrialRecord, metrics: Mapping[str, float], details: TestDetails | None = None
    ) -> None:
        """Describe the sweep with the trial's test metrics."""
        self._tests[record.name] = dict(metrics)
        self._describe()

    def _describe(self, at_once: bool = False) -> None:
        now = time.monotonic()
        too_early = self._written_at is not None and now - self._written_at < self._every_s
        self._is_behind = too_early and not at_once
        if self._is_behind:
            return
        self._written_at = now
        try:
            self._write(self._text())
        except Exception:
            logger.exception("the description of the sweep so far was not written")

    def _text(self) -> str:
        records = list(self._records.values())
        result = SweepResult(
            self._metric,
            records,
            best_so_far(records, self._metric),
            tests=self._tests,
            main_arm=self._main_arm,
            shows_all=self._shows_all,
        )
        return running_description(result, self._total, self._doing, datetime.datetime.now(), self._head)
