"""The schedulers in Tune itself: it pauses, saves, restores and clones; processes are killed; trials fail."""

import copy
import json
import os
import random
import signal
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.experiment import Trial
from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser
from ray.tune.search import SearchAlgorithm

from mdr_tune.search.schedulers.lane_scheduler import LaneScheduler
from tests.search.schedulers.cases import METRIC, SEED, config_of, random_gains, scheduler_of
from tests.search.schedulers.naive import naive_asha, naive_hyperband, naive_median, naive_pbt, values
from tests.waiting import wait_for

pytestmark = pytest.mark.ray
EPOCHS = 5


class Summed(tune.Trainable):
    """Its value is the sum of weight * gain over its epochs; only Tune's checkpoints carry it on."""

    def setup(self, config: dict[str, Any]) -> None:
        Path(config["pids"], str(os.getpid())).touch()
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        self._die_once("reset", 0)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self.now, self.state = config, {"epoch": 0, "total": 0.0}

    def step(self) -> dict[str, Any]:
        epoch = self.state["epoch"] + 1
        self._die_once("step", epoch)
        if self.now["fails_in"] == epoch:
            return {"done": True, "failure": {"kind": "failed", "text": "no"}}
        total = self.state["total"] + self.now["trial"]["mdr"]["weight"] * self.now["gains"][epoch - 1]
        self.state = {"epoch": epoch, "total": total}
        return {"epoch": epoch, METRIC: total, "done": epoch == len(self.now["gains"])}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self._die_once("save", self.state["epoch"])
        Path(checkpoint_dir, "state.json").write_text(json.dumps(self.state))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.state = json.loads(Path(checkpoint_dir, "state.json").read_text())

    def _die_once(self, when: str, epoch: int) -> None:
        place = Path(self.now["pids"], f"lost-{self.trial_id}-{when}-{epoch}")
        if [when, epoch] in self.now["dies"] and not place.exists():
            place.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class InOrder(SearchAlgorithm):
    """Hands out trials by name while lanes are free.

    If a process is lost while it is being made ready for another trial, Tune counts two failures, and gives up the
    trial with the second. Such a trial is handed out anew.
    """

    def __init__(self, configs: dict[str, dict[str, Any]], lanes: int) -> None:
        self.left, self.lanes = deque(configs.items()), lanes
        self.made: list[Trial] = []
        self.given_up: list[Trial] = []

    def set_search_properties(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def add_configurations(self, experiments: Any) -> None:
        self.spec, self.parser = experiments[0].spec, _make_parser()

    def next_trial(self) -> Trial | None:
        busy = sum(trial.status in (Trial.PENDING, Trial.RUNNING) for trial in self.made)
        if busy >= self.lanes:
            return None
        if self.given_up:
            lost = self.given_up.pop()
            trial = self._make(lost.trial_id, lost.config)
            trial.run_metadata.checkpoint_manager = lost.run_metadata.checkpoint_manager
            return trial
        return self._make(*self.left.popleft()) if self.left else None

    def _make(self, name: str, config: dict[str, Any]) -> Trial:
        spec = {**self.spec, "config": copy.deepcopy(config)}
        self.made.append(_create_trial_from_spec(spec, self.parser, experiment_tag=name, trial_id=name))
        return self.made[-1]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error:
            self.given_up.append([trial for trial in self.made if trial.trial_id == trial_id][-1])

    def is_finished(self) -> bool:
        # Not while trials are paused: Tune would start a process for each that goes on, not use one that is there.
        return not self.left and not self.given_up and all(trial.is_finished() for trial in self.made)


class Reports(Callback):
    """What Tune hears of the trials, in order."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, int, float]] = []
        self.restarts = self.most_at_once = 0

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        report = (trial.trial_id, result.get("epoch"), result.get(METRIC))
        if METRIC in result and report not in self.reports:
            self.reports.append(report)
        at_once = sum(trial.status == Trial.RUNNING for trial in trials)
        self.most_at_once = max(self.most_at_once, at_once)

    def on_trial_recover(self, **_: Any) -> None:
        self.restarts += 1

    def histories(self, names: list[str]) -> dict[str, list[float]]:
        found = {name: [(epoch, value) for n, epoch, value in self.reports if n == name] for name in names}
        for curve in found.values():
            assert [epoch for epoch, _ in curve] == list(range(1, len(curve) + 1))
        return {name: [value for _, value in curve] for name, curve in found.items()}


def run_tune(
    scheduler: LaneScheduler, configs: dict[str, dict[str, Any]], lanes: int, folder: Path, losses: int
) -> Reports:
    """Run trials through Tune; checks that nothing of them is left, and that the processes were lost."""
    pids = folder / "pids"
    pids.mkdir()
    reports = Reports()
    Tuner(
        tune.with_resources(Summed, tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])),
        param_space={},
        tune_config=TuneConfig(
            metric=METRIC,
            mode="max",
            search_alg=InOrder({name: {**config, "pids": str(pids)} for name, config in configs.items()}, lanes),
            scheduler=scheduler,
            reuse_actors=True,
        ),
        run_config=RunConfig(
            name="tune",
            storage_path=str(folder),
            callbacks=[reports],
            failure_config=FailureConfig(max_failures=3),
            checkpoint_config=CheckpointConfig(checkpoint_frequency=1),
            verbose=0,
        ),
    ).fit()
    assert reports.restarts == losses == len(list(pids.glob("lost-*")))
    assert reports.most_at_once <= lanes
    processes = [Path("/proc") / file.name for file in pids.iterdir() if file.name.isdigit()]
    wait_for(lambda: not any(process.exists() for process in processes), "the end of all actors")
    return reports


DIES = {"mdr-002": [["step", 1]], "mdr-004": [["save", 1], ["step", 3]], "mdr-005": [["save", 2]]}
FAILS_IN = {"mdr-003": 2}


def configs_of(gains: dict[str, list[float]], weights: dict[str, float], dies: bool) -> dict[str, dict[str, Any]]:
    return {
        name: config_of(
            gains[name], weights[name], fails_in=FAILS_IN.get(name), dies=DIES.get(name, []) if dies else []
        )
        for name in gains
    }


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("name", ["asha", "median"])
def test_early_stopping(name: str, lanes: int, tmp_path: Path, ray_for_tune: None) -> None:
    gains = random_gains(7, EPOCHS, random.Random(2))
    weights = dict.fromkeys(gains, 1.0)
    options = {"asha": {"reduction_factor": 2}, "median": {"min_trials": 2}}[name]
    scheduler = scheduler_of({"name": name, **options}, 7, lanes, EPOCHS)
    dies = lanes == 1  # then the order of the reports, and with it the decisions, do not depend on it
    configs = configs_of(gains, weights, dies)
    if dies:
        configs["mdr-004"]["dies"] = [["step", 1]]
        configs["mdr-005"]["dies"] = [["step", 1]]
    found = run_tune(scheduler, configs, lanes, tmp_path, losses=3 if dies else 0)
    naive = naive_asha(found.reports, EPOCHS, 1, 2) if name == "asha" else naive_median(found.reports, EPOCHS, 1, 2)
    histories = found.histories(list(gains))
    for trial, curve in histories.items():
        assert curve == values(gains[trial])[: len(curve)]
        assert (len(curve) < EPOCHS) == (trial in naive or trial in FAILS_IN)
    assert naive
    if lanes == 1:
        assert [report[0] for report in found.reports] == sorted(report[0] for report in found.reports)


@pytest.mark.parametrize("lanes", [1, 2])
def test_hyperband_pauses_and_restores(
    lanes: int, tmp_path: Path, ray_for_tune: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gains = random_gains(11, EPOCHS, random.Random(3))
    dies = lanes == 2
    if dies:
        monkeypatch.setitem(DIES, "mdr-007", [["reset", 0]])
    scheduler = scheduler_of({"name": "hyperband", "reduction_factor": 2}, 11, lanes, EPOCHS)
    configs = configs_of(gains, dict.fromkeys(gains, 1.0), dies)
    epochs = naive_hyperband(gains, FAILS_IN, EPOCHS, 2)
    losses = sum(epoch <= epochs[name] for name, places in DIES.items() for _, epoch in places) if dies else 0
    found = run_tune(scheduler, configs, lanes, tmp_path, losses).histories(list(gains))
    assert found == {name: values(gains[name])[: epochs[name]] for name in gains}


@pytest.mark.parametrize("lanes", [1, 2])
def test_pbt_clones_load_the_better_ones_state(lanes: int, tmp_path: Path, ray_for_tune: None) -> None:
    gains = random_gains(6, EPOCHS, random.Random(4))
    weights = {name: 0.1 * (i + 1) for i, name in enumerate(gains)}
    changes: list[Any] = []
    config = {"name": "pbt", "interval_epochs": 2, "perturb": ["mdr.weight"]}
    dies = lanes == 2
    scheduler = scheduler_of(config, 6, lanes, EPOCHS, lambda *change: changes.append(change))
    found = run_tune(scheduler, configs_of(gains, weights, dies), lanes, tmp_path, losses=4 if dies else 0)
    naive, naive_changes = naive_pbt(gains, weights, FAILS_IN, EPOCHS, 2, SEED)
    assert found.histories(list(gains)) == naive
    assert changes == naive_changes
    assert len(changes) == 4
