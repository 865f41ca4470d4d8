"""Whole searches with schedulers that pause trials, on a real lane: what MLflow has is what happened."""

from pathlib import Path
from typing import Any

import pytest
import ray
from mlflow import MlflowClient

from mdr_tune.checkpoints.checkpoint_file import read_checkpoint
from mdr_tune.config.arms import main_arm
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.lanes.hub import unwrap
from mdr_tune.report.leaderboard import leaderboard
from mdr_tune.sweep.cost import estimate
from mdr_tune.tracking.reader import read_sweep
from tests.faults.sweeps import METRIC, SWEEP, in_mlflow, in_study, numbers, run, same_each_run
from tests.lane_session import RESOURCES

pytestmark = pytest.mark.ray

TRIAL = {**SWEEP["trial"], "iterations_per_epoch": 4}


def epoch_after(hub: Any, config: dict[str, Any], folder: str) -> dict[str, float]:
    """Train one epoch from a checkpoint with a configuration, on the lane, by hand."""
    unwrap(ray.get(hub.lease.remote("by-hand")))
    try:
        checkpoint = ray.put(read_checkpoint(Path(folder)))
        unwrap(ray.get(hub.submit.remote("by-hand", "start", {"trial": config, "checkpoint": checkpoint})))
        metrics: dict[str, float] = unwrap(ray.get(hub.submit.remote("by-hand", "epoch", {})))
        return {key: value for key, value in same_each_run(metrics).items() if key not in ("device", "distances")}
    finally:
        ray.get(hub.release.remote("by-hand"))


@pytest.mark.slow  # schedulers/test_schedulers_ray.py does the same with smaller trials
def test_population_based_training_on_glyphs(hub: Any, tmp_path: Path) -> None:
    """A trial that takes over another one's state goes on as that one would have, with the new weight and rate."""
    search = {"trials": 4, "sampler": "random", "scheduler": {"name": "pbt", "quantile": 0.5}}
    space = {"mdr.weight": {"loguniform": [0.01, 1]}, "optimizer.learning_rate": {"loguniform": [1e-4, 1e-2]}}
    outcome, _ = run(hub, tmp_path, trial=TRIAL, search=search, space=space, checkpoints="all")
    records = {record.name: record for record in outcome.result.records}
    found = in_mlflow(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert len(records) == 4
    for name, record in records.items():
        assert (record.outcome, record.epochs, found[name]["status"]) == ("completed", 3, "FINISHED")
        values = [(int(epoch["epoch"]), epoch[METRIC]) for epoch in record.history]
        assert found[name]["metrics"][METRIC] == values
    changes = [(record, change) for record in records.values() for change in record.changes]
    assert sorted(change.epoch for _, change in changes) == [1, 1, 2, 2]
    for record, change in changes:
        config = {**record.config, "mdr": {**record.config["mdr"]}, "optimizer": {**record.config["optimizer"]}}
        config["mdr"]["weight"] = change.parameters["mdr.weight"]
        config["optimizer"]["learning_rate"] = change.parameters["optimizer.learning_rate"]
        donor = records[change.source]
        recorded = same_each_run(record.history[change.epoch])
        assert recorded["train/learning_rate"] == pytest.approx(change.parameters["optimizer.learning_rate"])
        assert recorded["mdr/weight"] == pytest.approx(change.parameters["mdr.weight"])
        assert epoch_after(hub, config, donor.checkpoints[change.epoch]) == recorded
        in_force = dict(found[record.name]["metrics"]["pbt/mdr.weight"])
        assert in_force[change.epoch + 1] == pytest.approx(change.parameters["mdr.weight"])


@pytest.mark.slow  # schedulers/test_schedulers_ray.py does the same with smaller trials
def test_hyperband_on_glyphs(hub: Any, tmp_path: Path) -> None:
    """Every rung keeps the better of those that came there; the epochs in all are those that the plan said."""
    search = {"trials": 6, "scheduler": {"name": "hyperband", "reduction_factor": 2}}
    outcome, _ = run(hub, tmp_path, trial={**TRIAL, "epochs": 4}, search=search)
    found = in_mlflow(f"sqlite:///{tmp_path / 'mlflow.db'}")
    records = outcome.result.records
    assert len(records) == 6
    assert {record.outcome for record in records} == {"completed", "stopped_early"}
    for record in records:
        assert [step for step, _ in found[record.name]["metrics"][METRIC]] == list(range(1, record.epochs + 1))
    sweep = SweepConfig.model_validate({**SWEEP, "trial": {**TRIAL, "epochs": 4}, "search": search})
    cost = estimate([main_arm(sweep)], sweep.search.scheduler, 1, RESOURCES, None)
    assert sum(record.epochs for record in records) == cost.epochs.most == cost.epochs.least


def test_finalists_get_their_seeds_after_the_search(hub: Any, tmp_path: Path) -> None:
    """What the records say, what the study, MLflow, the leaderboard and the report make of them."""
    trial = {**TRIAL, "epochs": 1, "iterations_per_epoch": 2}
    search = {"trials": 4, "scheduler": "none", "seeds_per_trial": 2, "finalists": 2}
    outcome, _ = run(hub, tmp_path, trial=trial, search=search)
    result = outcome.result
    firsts, finals = result.records[:4], result.records[4:]
    values = {record.name: record.history[0][METRIC] for record in result.records}
    assert {record.name for record in firsts} == {f"mdr-00{number}" for number in (1, 2, 3, 4)}
    best = sorted(firsts, key=lambda record: -values[record.name])[:2]
    assert [record.name for record in finals] == [f"{record.name}.2" for record in best]
    assert {record.config["seed"] for record in finals} == {1}
    assert [value for _, _, value, *_ in in_study(tmp_path)] == [values[record.name] for record in firsts]
    means = {record.name: (values[record.name] + values[f"{record.name}.2"]) / 2 for record in best}
    winner = max(means, key=lambda name: means[name])
    assert result.winner is not None
    assert result.winner.name == winner
    assert result.tests.keys() == {winner, f"{winner}.2"}
    recorded = read_sweep(MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}"), "faults")
    assert recorded.finalists == 2
    lines = leaderboard(recorded)
    assert [line.trial for line in lines if line.seeds == 2] == [line.trial for line in lines[:4:2]]
    assert lines[0].trial == winner
    assert outcome.report is not None
    assert [row.name for row in outcome.report.table.rows] == [winner]
    assert not result.can_go_on


def test_each_configuration_is_trained_once_whatever_the_sweep_is_called(hub: Any, tmp_path: Path) -> None:
    trial = {**TRIAL, "epochs": 1, "iterations_per_epoch": 2}
    changes = {"trial": trial, "search": {"trials": 6, "scheduler": "none"}, "space": {"mdr.weight": [0.1, 0.2, 0.3]}}
    found = []
    for name in ("one", "two"):
        outcome, _ = run(hub, tmp_path / name, name=name, **changes)
        result = outcome.result
        assert sorted(record.parameters["mdr.weight"] for record in result.records) == [0.1, 0.2, 0.3]
        assert result.stopped_because == "mdr: its space has no more than the 3 configurations that were tried"
        assert not result.can_go_on
        found.append(numbers(outcome))
    assert found[0] == found[1]
