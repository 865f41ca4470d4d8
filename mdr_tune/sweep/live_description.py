"""Update the description of the launch's MLflow run while the sweep runs, so that MLflow shows the progress."""

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
    """Listener of a sweep that updates the description of the sweep's MLflow run.

    The description is updated at once when the sweep begins another step of its work, and otherwise at most every
    `every_s` seconds. If an update fails, the error is logged and the sweep goes on.

    Args:
        write: Function that sets the description and returns at once, such as `Tracker.note`.
        metric: Name of the metric that the sweep maximises.
        main_arm: Name of the main arm, which runs the search that the sweep file describes.
        total: Number of trials of all arms. Further seeds are included unless `further_seeds` is a number.
        shows_all: Whether the description has a row for each configuration, as for a grid, or only for the best ones.
        records: Records of the trials of earlier sessions.
        finalists: Number of each arm's configurations that get further seeds after its search; None if the sweep does
            not choose finalists.
        further_seeds: Number of further seeds beside the trials; 0 if it is not known. None if `total` includes them.
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
        finalists: int | None = None,
        further_seeds: int | None = None,
    ) -> None:
        self._write, self._metric, self._total, self._every_s = write, metric, total, every_s
        self._main_arm, self._shows_all, self._finalists = main_arm, shows_all, finalists
        self._further_seeds = further_seeds
        self._records = {record.name: record for record in records}
        self._tests: dict[str, dict[str, float]] = {}
        self._head, self._doing = "Running", "starting"
        self._written_at: float | None = None
        self._is_behind = False

    def stage(self, text: str) -> None:
        """Update the description at once; `text` says what the sweep does now."""
        self._doing = text
        self._describe(at_once=True)

    def end(self, how: str, why: str) -> None:
        """Update the description at once, because the sweep ended early.

        Args:
            how: `Interrupted` or `Failed`.
            why: Text of the error if the sweep failed; "" if it was interrupted.
        """
        self._head, self._doing = how, why.splitlines()[0] if why else "--resume goes on with it"
        self._describe(at_once=True)

    def arm_started(self, arm: Arm) -> None:
        """Note that `arm` is searched now; the next update of the description names it."""
        self._doing = f"searching {arm.name}"

    def trial_started(self, record: TrialRecord) -> None:
        """Add the trial of `record` to those that the next update describes."""
        self._records[record.name] = record

    def epoch_finished(self, record: TrialRecord) -> None:
        """Update the description if the last update was skipped, because it came too soon after an earlier one."""
        if self._is_behind:
            self._describe()

    def trial_noted(self, record: TrialRecord) -> None:
        """Do nothing: the description contains no notes on trials."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Update the description with the result of the trial of `record`."""
        self._records[record.name] = record
        self._describe()

    def test_scored(
        self, record: TrialRecord, metrics: Mapping[str, float], details: TestDetails | None = None
    ) -> None:
        """Update the description with the test `metrics` of the trial of `record`."""
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
            best_so_far(records, self._metric, self._finalists),
            tests=self._tests,
            main_arm=self._main_arm,
            shows_all=self._shows_all,
            finalists=self._finalists,
        )
        now = datetime.datetime.now()
        return running_description(result, self._total, self._doing, now, self._head, self._further_seeds)
