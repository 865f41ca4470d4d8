"""Tune's controller as far as a scheduler sees it, in milliseconds, with events in an order that a generator draws."""

import random
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from ray.train._internal.session import _TrainingResult
from ray.tune.experiment import Trial

from mdr_tune.search.schedulers.lane_scheduler import LaneScheduler
from tests.search.schedulers.cases import METRIC


class TuneByHand:
    """Runs trials whose epoch adds weight * gain to their value. It starts, reports, saves and loses trials as Tune's
    controller does: a paused trial is paused once its save is done, a lost one is queued again from its checkpoint.

    Args:
        scheduler: What is tested.
        configs: Tune's config of each trial, by name, in the order in which they come.
        lanes: How many run.
        order: Draws which event comes next.
        lost: (name, epoch, "step", "save" or "start"): where a trial's process is lost, once. At its start, Tune gives
            the trial up, and the search hands it out anew.
    """

    def __init__(
        self,
        scheduler: LaneScheduler,
        configs: dict[str, dict[str, Any]],
        lanes: int,
        order: random.Random,
        lost: Iterable[tuple[str, int, str]] = (),
    ) -> None:
        self.scheduler, self.lanes, self.order, self.lost = scheduler, lanes, order, set(lost)
        self.queue = list(configs.items())
        self.trials: list[Trial] = []
        self.states: dict[str, tuple[int, float]] = {}
        self.saving: set[str] = set()
        self.history: dict[str, dict[int, float]] = {name: {} for name in configs}
        self.reports: list[tuple[str, int, float]] = []
        self.stopped: set[str] = set()

    def get_trials(self) -> list[Trial]:
        return self.trials

    def get_live_trials(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.status != Trial.TERMINATED]

    def busy(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.status in (Trial.PENDING, Trial.RUNNING)]

    def stop_trial(self, trial: Trial) -> None:
        assert trial.status == Trial.PAUSED, "stopped in the middle of something"
        self.scheduler.on_trial_remove(self, trial)
        trial.status = Trial.TERMINATED

    def run(self) -> dict[str, list[float]]:
        """Return the values of each trial's epochs."""
        while self.queue or self.get_live_trials():
            if self.queue and len(self.busy()) < self.lanes:
                name, config = self.queue.pop(0)
                self.trials.append(Trial("any", config=config, trial_id=name, stub=True))
                self.scheduler.on_trial_add(self, self.trials[-1])
            chosen = self.scheduler.choose_trial_to_run(self)
            if chosen is not None:
                assert chosen.status in (Trial.PAUSED, Trial.PENDING)
                chosen.status = Trial.PENDING
            busy = self.busy()
            assert len(busy) <= self.lanes
            if busy:
                self.next_event(self.order.choice(busy))
            else:
                assert self.queue or not self.get_live_trials(), "all wait for ever"
        for curve in self.history.values():
            assert list(curve) == list(range(1, len(curve) + 1))
        return {name: list(curve.values()) for name, curve in self.history.items()}

    def next_event(self, trial: Trial) -> None:
        name = trial.trial_id
        if trial.status == Trial.PENDING:
            saved = trial.latest_checkpoint_result
            self.states[name] = (0, 0.0) if saved is None else saved.checkpoint.state
            if not self.is_lost(trial, "start"):
                trial.status = Trial.RUNNING
        elif name in self.saving:
            self.saving.remove(name)
            if not self.is_lost(trial, "save"):
                self.save(trial)
                trial.status = Trial.PAUSED
        elif not self.is_lost(trial, "step"):
            self.step(trial)

    def step(self, trial: Trial) -> None:
        name, (epoch, total) = trial.trial_id, self.states[trial.trial_id]
        config, epoch = trial.config, epoch + 1
        if config.get("fails_in") == epoch:
            return self.complete(trial, {"done": True, "failure": {"kind": "failed", "text": "no"}})
        total += config["trial"]["mdr"]["weight"] * config["gains"][epoch - 1]
        self.states[name] = (epoch, total)
        assert self.history[name].setdefault(epoch, total) == total
        self.reports.append((name, epoch, total))
        result = {"epoch": epoch, METRIC: total}
        if epoch == config["trial"]["epochs"]:
            return self.complete(trial, result)
        decision = self.scheduler.on_trial_result(self, trial, result)
        if decision == "STOP":
            self.stopped.add(name)
            return self.complete(trial, result)
        if decision == "PAUSE":
            self.saving.add(name)
        else:
            self.save(trial)
        return None

    def complete(self, trial: Trial, result: dict[str, Any]) -> None:
        self.scheduler.on_trial_complete(self, trial, result)
        trial.status = Trial.TERMINATED

    def save(self, trial: Trial) -> None:
        checkpoint = SimpleNamespace(state=self.states[trial.trial_id])
        trial.run_metadata.checkpoint_manager.register_checkpoint(_TrainingResult(checkpoint, {}))

    def is_lost(self, trial: Trial, when: str) -> bool:
        epoch = self.states[trial.trial_id][0] + (when == "step")
        place = (trial.trial_id, epoch, when)
        if place not in self.lost:
            return False
        self.lost.remove(place)
        self.trials.remove(trial)
        if when == "start":
            self.scheduler.on_trial_error(self, trial)
            manager = trial.run_metadata.checkpoint_manager
            trial = Trial("any", config=trial.config, trial_id=trial.trial_id, stub=True)
            trial.run_metadata.checkpoint_manager = manager
        else:
            trial.status = Trial.ERROR
            self.scheduler.on_trial_error(self, trial)
            trial.status = Trial.PENDING
        self.trials.append(trial)
        self.scheduler.on_trial_add(self, trial)
        return True
