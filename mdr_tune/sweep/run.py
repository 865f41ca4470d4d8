"""Run a plan on lanes that are up: one search for each arm, then the evaluation on the test classes."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from mdr_tune.config.arms import Arm
from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.trial_record import SweepListener, SweepResult, TrialRecord
from mdr_tune.search.ledger import Ledger
from mdr_tune.search.stop_rules import StopRules
from mdr_tune.sweep.interrupts import Interrupts
from mdr_tune.sweep.plan import Plan
from mdr_tune.tracking.query_scores import read_details, write_details
from mdr_tune.util.disk_space import until_room
from mdr_tune.util.signals import raise_if_interrupted

POLL_S = 0.2
NAMED = 3
"""Largest number of trials that a message lists by name."""


class RunListener(SweepListener, Protocol):
    """A listener that also receives events about the sweep as a whole."""

    def stage(self, text: str) -> None:
        """Receive a `text` on the step that begins, or on something else that the user should know."""

    def arm_started(self, arm: Arm) -> None:
        """Receive the `arm` whose search begins or is resumed."""

    def test_scored(self, record: TrialRecord, metrics: dict[str, float], details: TestDetails | None) -> None:
        """Receive the `metrics` of the trial of `record` on the test classes, and the `details` of each query.

        `details` is None if an earlier session evaluated the trial, and its details were not kept or are damaged.
        """


class LaunchListener(RunListener, Protocol):
    """A listener that also receives the progress of a long preparation."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Receive the progress of a preparation: `what` it does, and how many of `total` items are `done`."""


class SweepRun:
    """One session of a sweep on lanes that are up: it runs the searches that are not over yet, then evaluates trials.

    Args:
        plan: Plan of the launch.
        hub: Handle of the actor that leases the lanes.
        ledger: Ledger of the sweep, with the trials of earlier sessions.
        rules: Rules that end a search early. They must also be one of the ledger's listeners.
        listeners: Listeners whose methods `stage`, `arm_started` and `test_scored` are called.
        interrupts: Handler of Ctrl-C, which knows whether the user wants the sweep to end.
    """

    def __init__(
        self,
        plan: Plan,
        hub: Any,
        ledger: Ledger,
        rules: StopRules,
        listeners: Sequence[RunListener],
        interrupts: Interrupts,
    ) -> None:
        self._plan, self._hub, self._ledger, self._rules = plan, hub, ledger, rules
        self._listeners, self._interrupts = listeners, interrupts
        self.result = SweepResult(
            plan.metrics[0],
            records=ledger.records,
            main_arm=plan.arms[0].name,
            shows_all=plan.sweep.search.sampler_class.lists_all,
            second_metric=plan.sweep.second_metric,
            finalists=plan.sweep.search.finalists,
        )

    def search(self) -> None:
        """Run the search of each arm whose search is not over yet, or of every arm if trials are added."""
        from mdr_tune.sweep.search_run import ArmRun

        for arm in self._plan.arms:
            if arm.name in self._plan.past.searched and not self._plan.extend_by:
                continue
            for listener in self._listeners:
                listener.arm_started(arm)
            run = ArmRun(
                self._plan,
                arm,
                self._hub,
                self._ledger,
                self._plan.past,
                self._rules,
                lambda: self._interrupts.requested,
            )
            with self._interrupts.watched():
                if self._rules.limits_time:
                    self._wait_for_lanes()  # else the first arm's time budget would pay for the start of the lanes
                self._rules.begin(arm.name)
                end = run.run()
            if self._interrupts.requested:
                self.result.interrupted = True
                return
            self._ledger.tidy(arm.name)
            if end.reason is not None:
                reasons = [*filter(None, [self.result.stopped_because]), f"{arm.name}: {end.reason}"]
                self.result.stopped_because = "; ".join(reasons)
                self._tell(f"the search of {arm.name} ends: {end.reason}")
            if end.can_go_on:
                self.result.can_go_on = True
            else:
                self._ledger.journal.write("searched", arm=arm.name)

    def _wait_for_lanes(self) -> None:
        import ray

        while not self._interrupts.requested and ray.get(self._hub.ready_lanes.remote()) == 0:
            time.sleep(POLL_S)

    def evaluate(self) -> None:
        """Evaluate the best configuration of each arm on the test classes, with all of its seeds.

        For an ablation, all trials that ran to their end are evaluated. If an earlier session has evaluated a trial at
        the same epoch, the trial is not evaluated again.
        """
        found = {arm.name: self._best_of(arm) for arm in self._plan.arms}
        self.result.best |= {arm: record for arm, record in found.items() if record is not None}
        self._evaluate([record for record in self._to_evaluate() if record.best(self.result.metric) is not None])
        means = self.result.test_means()
        self.result.test |= {arm: means[best.name] for arm, best in self.result.best.items() if best.name in means}

    def _to_evaluate(self) -> list[TrialRecord]:
        if self._plan.sweep.is_ablation:
            return [record for record in self._ledger.records if record.outcome == "completed"]
        return [seed for record in self.result.best.values() for seed in self._ledger.seeds_of(record)]

    def _evaluate(self, records: list[TrialRecord]) -> None:
        from mdr_tune.sweep.finals import evaluate_on_test, side_by_side

        open_records = []
        for record in records:
            if self._was_tested(record):
                self._scored(record, self._plan.past.tested[record.name][1], self._known_details(record))
            else:
                open_records.append(record)
        if open_records:
            self._tell(f"evaluating {', '.join(_few(open_records))} on the test classes")
        metric, lanes = self.result.metric, self._plan.lanes.num_lanes
        results = side_by_side(lambda record: evaluate_on_test(self._hub, record, metric), open_records, lanes)
        for record, result in results:
            raise_if_interrupted()
            if isinstance(result, Exception):
                self._tell(f"{record.name} has no test value: the checkpoint of its best epoch is damaged ({result})")
                continue
            best = record.best(metric)
            assert best is not None  # a trial without a value is not evaluated
            self._keep_details(record, result.details)
            self._ledger.journal.write("tested", name=record.name, epoch=best[1], metrics=result.metrics)
            self._scored(record, result.metrics, result.details)

    def _was_tested(self, record: TrialRecord) -> bool:
        """Return whether an earlier session evaluated the trial of `record` at the epoch that is now its best one."""
        best, tested = record.best(self.result.metric), self._plan.past.tested.get(record.name)
        return best is not None and tested is not None and tested[0] == best[1]

    def _details_of(self, record: TrialRecord) -> Path:
        return self._plan.folder / "test" / record.name

    def _keep_details(self, record: TrialRecord, details: TestDetails) -> None:
        """Write the test `details` of a trial into the launch's folder, where later sessions read them."""
        folder = self._details_of(record)
        folder.mkdir(parents=True, exist_ok=True)
        until_room(lambda: write_details(details, folder), f"the test result of {record.name}", self._tell)

    def _known_details(self, record: TrialRecord) -> TestDetails | None:
        """Return the test details of `record` from an earlier session; None if they were not kept or are damaged."""
        folder = self._details_of(record)
        if not folder.is_dir():
            return None
        try:
            return read_details(folder)
        except (OSError, ValueError, LookupError, TypeError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            self._tell(f"the details of {record.name}'s test in {folder} cannot be read ({reason}): they are left out")
            return None

    def _scored(self, record: TrialRecord, metrics: dict[str, float], details: TestDetails | None) -> None:
        self.result.tests[record.name] = metrics
        for listener in self._listeners:
            listener.test_scored(record, metrics, details)

    def _best_of(self, arm: Arm) -> TrialRecord | None:
        """Return the record of the first seed of `arm`'s best configuration; None if no configuration has a value.

        Configurations are compared by the mean over their seeds. If configurations get several seeds, those whose first
        seed ran to its end are preferred to all others, and finalists with several seeds to those.
        """
        firsts = [record for record in self._ledger.of_arm(arm.name) if record.seed_index == 0]
        scored = [record for record in firsts if record.best(self.result.metric) is not None]
        whole = [record for record in scored if record.outcome == "completed"]
        candidates = whole if whole and self._ledger.gives_further_seeds else scored
        return max(candidates, key=self.result.standing_of, default=None)

    def finish(self) -> None:
        """Write into the journal that the sweep is finished, unless a resumed sweep would have more to do."""
        if not self.result.can_go_on:
            self._ledger.journal.write("finished")

    def _tell(self, text: str) -> None:
        for listener in self._listeners:
            listener.stage(text)


def _few(records: Sequence[TrialRecord]) -> list[str]:
    """Return the names of the first NAMED trials of `records` and, if there are others, a text on how many."""
    names = [record.name for record in records[:NAMED]]
    return names + ([f"{len(records) - NAMED} more"] if len(records) > NAMED else [])
