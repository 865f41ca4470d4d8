"""Run the search of one arm as a Ray Tune experiment. Its trials lease the sweep's lanes."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, Stopper, TuneConfig, Tuner

from mdr_tune.config.arms import Arm
from mdr_tune.config.space import searched
from mdr_tune.lanes.messages import LaneEnded
from mdr_tune.lanes.ray_seams import HEAD_RESOURCE
from mdr_tune.lanes.trainable import LaneTrial
from mdr_tune.records.journal import Past
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.search.arm_search import ArmSearch
from mdr_tune.search.ledger import Ledger
from mdr_tune.search.schedulers import make_scheduler, replay
from mdr_tune.search.schedulers.lane_scheduler import LaneScheduler
from mdr_tune.search.seeded_sampler import NothingNewError
from mdr_tune.search.stop_rules import StopRules
from mdr_tune.search.trial_source import TrialSource
from mdr_tune.sweep.events import TuneEvents
from mdr_tune.sweep.one_trial import OneTrial
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.stored_launches import STUDIES
from mdr_tune.util.words import count

TRIAL_ACTOR = {HEAD_RESOURCE: 0.001}
"""Resources that the actor of a trial reserves: next to nothing, since a lane's workers do the training. The actor runs
on the head node, where the storage and the lanes' hub are."""
MAX_FAILURES = 3
"""Number of times that Tune restarts a trial that lost its process. Errors of the trial's own code are not retried."""


@dataclass(frozen=True)
class ArmEnd:
    """The end of an arm's search.

    Attributes:
        reason: Why the search ended before all of its trials, and further seeds, had started, in words. None if all had
            started, or if the user interrupted the search.
        can_go_on: Whether --resume has something to do: trials that were cut off, or more trials on a larger budget.
    """

    reason: str | None
    can_go_on: bool


class ArmRun:
    """The search of `arm` on the lanes that `hub` leases. If an earlier session began it, this session continues it.

    Args:
        plan: Plan of the launch.
        arm: Arm to search.
        hub: Handle of the actor that leases the lanes.
        ledger: Ledger with the trials of earlier sessions. New trials are entered into it.
        past: Journal of the earlier sessions.
        rules: Rules that end the search early.
        is_interrupted: Function that returns whether the user wants the search to end.
        trainable: Class that Tune runs for each trial. It must behave like `LaneTrial`.
    """

    def __init__(
        self,
        plan: Plan,
        arm: Arm,
        hub: Any,
        ledger: Ledger,
        past: Past,
        rules: StopRules,
        is_interrupted: Callable[[], bool],
        trainable: type[tune.Trainable] = LaneTrial,
    ) -> None:
        self._plan, self._arm, self._hub, self._ledger, self._past = plan, arm, hub, ledger, past
        self._rules, self._is_interrupted, self._trainable = rules, is_interrupted, trainable
        self._config = plan.sweep.search.scheduler
        self._replays = self._config.waits
        self._has_stopped_lanes = False

    def _release_lane(self, name: str) -> None:
        ray.get(self._hub.release.remote(name))

    def run(self) -> "ArmEnd":
        """Run the search; return how it ended.

        Raises:
            LaneEnded: No lane is left, so no trial can run any more.
        """
        search, orphans = self._open_search()
        arm, plan, ledger = self._arm, self._plan, self._ledger
        source = TrialSource(
            arm,
            search,
            ledger,
            plan.lanes.num_lanes,
            plan.sweep.training_seeds,
            self._replays,
            orphans,
            closed=lambda: self._rules.closed(arm.name),
            out_of_budget=lambda: self._rules.out_of_budget(arm.name),
            folds=plan.sweep.search.folds,
        )
        self._events = TuneEvents(arm, ledger, self._release_lane, source.goes_on, self._config.takes_over)
        scheduler = make_scheduler(
            self._config,
            arm=arm,
            seed=plan.sweep.search.seed,
            max_epochs=plan.max_epochs,
            num_lanes=plan.lanes.num_lanes,
            on_change=self._events.changed,
            earlier=plan.trials_before_extensions(arm),
        )
        self._take_up(scheduler)
        self._tuner(scheduler, source).fit()
        self._ledger.study = None
        if self._events.lanes_ended is not None:
            raise LaneEnded(self._events.lanes_ended)
        return self._end(source.has_nothing_new)

    def _end(self, has_nothing_new: bool) -> "ArmEnd":
        records, arm = self._ledger.of_arm(self._arm.name), self._arm
        is_cut_off = any(record.outcome == "killed" for record in records)
        started = sum(record.seed_index == 0 for record in records)
        lacks_seeds = any(self._ledger.missing_seeds(first) for first in self._ledger.getting_seeds(arm.name))
        is_incomplete, over = is_cut_off or lacks_seeds, self._rules.out_of_budget(arm.name)
        if not is_incomplete and (started >= arm.trials or has_nothing_new):
            trained = f"its space has no more than the {count(started, 'configuration')} that were tried"
            return ArmEnd(trained if started < arm.wanted else None, can_go_on=False)
        reason = self._rules.closed(arm.name)
        if over is not None and is_incomplete and self._ledger.num_finalists is not None:
            reason = f"{over}, before its finalists had all of their seeds"
        return ArmEnd(reason, can_go_on=is_cut_off or over is not None)

    def _open_search(self) -> tuple[ArmSearch | OneTrial, dict[str, dict[str, Any]]]:
        """Open the arm's study, and add the journal's trials and reports that the study lacks.

        Returns:
            The search, and configurations that the study suggested for trials that never began, by the trial's name.
        """
        sweep, arm = self._plan.sweep, self._arm
        if not searched(arm.space):
            return OneTrial(arm), {}
        search = ArmSearch(
            arm,
            sweep.search,
            self._ledger.metrics,
            self._plan.folder / STUDIES,
            study_name=f"{sweep.name}-{arm.name}",
            legacy_draws=self._plan.legacy_draws,
        )
        self._ledger.study = search
        known = {record.number: record for record in self._ledger.of_arm(arm.name) if record.seed_index == 0}
        for record in known.values():
            search.adopt(record.number)
            for epoch in record.history:
                search.report(record.number, int(epoch["epoch"]), epoch.get(self._ledger.metrics[0], float("nan")))
            self._ledger.tell_study(record)
        in_vain = {}
        for number in search.running_numbers():
            if number not in known:
                with contextlib.suppress(NothingNewError):
                    in_vain[f"{arm.name}-{number + 1:03d}"] = search.adopt(number)
        return search, in_vain

    def _take_up(self, scheduler: LaneScheduler) -> None:
        """Give `scheduler` the reports of earlier sessions, and end trials that the last session was about to end.

        Nothing is done if Tune runs the trials once more, because they then give their reports again.
        """
        if self._replays:
            return
        mine = {record.name: record for record in self._past.records if record.arm == self._arm.name}
        reports = [
            (name, epoch, self._value_at(mine[name], epoch), ended)
            for name, epoch, ended in self._past.reports
            if name in mine and mine[name].seed_index == 0 and epoch > 0
        ]
        to_stop = replay(scheduler, reports)
        for record in mine.values():
            is_whole = record.epochs >= record.config["epochs"]
            is_saved = max(record.checkpoints, default=0) == record.epochs > 0
            if not record.ended and is_saved and (is_whole or record.name in to_stop):
                self._ledger.ended(record, "completed" if is_whole else "stopped_early", None)

    def _value_at(self, record: TrialRecord, epoch: int) -> float:
        metrics = next(entry for entry in record.history if entry["epoch"] == epoch)
        return float(metrics.get(self._ledger.metrics[0], float("nan")))

    def _tuner(self, scheduler: LaneScheduler, source: TrialSource) -> Tuner:
        trainable = tune.with_resources(
            tune.with_parameters(self._trainable, hub=self._hub), tune.PlacementGroupFactory([TRIAL_ACTOR])
        )
        return Tuner(
            trainable,
            param_space={},
            tune_config=TuneConfig(
                metric=self._ledger.metrics[0],
                mode="max",
                search_alg=source,
                scheduler=scheduler,
                reuse_actors=True,
                trial_name_creator=_name_of,
                trial_dirname_creator=_name_of,
            ),
            run_config=RunConfig(
                name=self._arm.name + (f"-{self._past.sessions + 1}" if self._past.sessions else ""),
                storage_path=str(self._plan.folder / "tune"),
                callbacks=[self._events],
                stop=_EndOfSearch(self._should_stop),
                failure_config=FailureConfig(max_failures=MAX_FAILURES),
                checkpoint_config=CheckpointConfig(checkpoint_frequency=1),  # the ledger deletes what is superseded
                verbose=0,
            ),
        )

    def _should_stop(self) -> bool:
        if self._is_interrupted() and not self._has_stopped_lanes:
            self._has_stopped_lanes = True
            ray.get(self._hub.stop.remote())  # epochs that are cut off are trained again when the sweep is resumed
        out_of_budget = self._rules.out_of_budget(self._arm.name) is not None
        return self._events.lanes_ended is not None or self._has_stopped_lanes or out_of_budget


def _name_of(trial: Any) -> str:
    return str(trial.trial_id)


class _EndOfSearch(Stopper):
    """Stopper that ends the whole Tune experiment as soon as `should_stop` returns True."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._should_stop()
