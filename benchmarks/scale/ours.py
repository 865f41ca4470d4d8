"""Our side: what `launch.py` wires together, with trials that do nothing instead of lanes.

python -m scale.ours STAMPS_FILE FOLDER TRIALS EPOCHS FIRST
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from mdr_tune.cli.pace import Pace
from mdr_tune.cli.status import Status
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.search.stop_rules import StopRules
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.ray_session import ray_session
from scale.meter import Meter, Stamps
from scale.search import METRIC, make_plan


class MeterListener:
    """The sweep's last listener: when it hears of a report, all others have."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def trial_started(self, record: TrialRecord) -> None:
        """Nothing to measure."""

    def epoch_finished(self, record: TrialRecord) -> None:
        """A report has been dealt with."""
        self._meter.report()

    def trial_noted(self, record: TrialRecord) -> None:
        """Nothing to measure."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Keep its value; a trial that was not completed is no measurement."""
        if record.outcome != "completed":
            raise RuntimeError(f"the trial {record.name} ended as {record.outcome}: {record.error}")
        self._meter.ended(record.history[-1][METRIC])


class FirstTrials(StopRules):
    """Ends the search when so many of its trials have begun."""

    def __init__(self, plan: Plan, first: int) -> None:
        super().__init__(plan.sweep.search.stop, plan.arms, METRIC, gpus_per_trial=0)
        self._left = first

    def trial_started(self, record: TrialRecord) -> None:
        """Count it."""
        self._left -= 1

    def closed(self, arm: str) -> str | None:
        """Say that these were all, if so."""
        return "these were all" if self._left <= 0 else super().closed(arm)


def run(trials: int, epochs: int, first: int, folder: Path) -> Stamps:
    """Run the first trials of the search; Ray is started and ended here."""
    plan = make_plan(trials, epochs, folder)
    with ray_session(None, plan.machine.cpus), open(os.devnull, "w") as nowhere:
        from mdr_tune.lanes.lane import start_hub
        from mdr_tune.records.journal import Journal
        from mdr_tune.search.ledger import Ledger
        from mdr_tune.sweep.launch import _open_tracker
        from mdr_tune.sweep.search_run import ArmRun
        from scale.trial import Nothing

        hub: Any = start_hub(plan.lanes)
        status = Status(Console(file=nowhere), METRIC, Pace(plan.num_trials, plan.lanes))
        rules = FirstTrials(plan, first)
        with contextlib.closing(Journal(plan.folder, status.stage)) as journal:
            tracker = _open_tracker(plan, "sweep_scale", {"content": "none"})
            waiting = tracker._writer._queue
            meter = Meter(queued=lambda: len(waiting))
            listeners = [rules, tracker, status, MeterListener(meter)]
            ledger = Ledger(journal, plan.metrics, 1, False, listeners, records=[])
            ArmRun(plan, plan.arms[0], hub, ledger, plan.past, rules, lambda: False, Nothing).run()
            meter.searched()
            tracker.close("FINISHED")
            meter.written()
    return meter.stamps


if __name__ == "__main__":
    run(int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), Path(sys.argv[2])).save(Path(sys.argv[1]))
