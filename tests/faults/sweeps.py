"""Small sweeps on the shared lane, with a fault at a chosen moment, and what of two sweeps must be the same."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from mdr_tune.cluster.machine import Machine
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.sweep.launch import run_on
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.recording import LaunchOutcome
from mdr_tune.sweep.stores import Stores
from tests.empty_store import put_empty_store
from tests.lane_session import RESOURCES
from tests.report.few_figures import one_figure

METRIC = "val/recall_at_1"
TRIAL_ACTOR = "with_resources.<locals>.ResourceTrainable"
"""The class that Tune makes of LaneTrial when it is given the hub."""
SWEEP: dict[str, Any] = {
    "name": "faults",
    "trial": {
        "batch": {"size": 16, "images_per_class": 4},
        "embedding": {"size": 8},
        "epochs": 3,
        "iterations_per_epoch": 8,
    },
    "search": {"trials": 3, "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 3}},
    "space": {"mdr.weight": {"loguniform": [0.01, 1]}, "loss.margin": {"uniform": [0.1, 0.4]}},
    "resources": {"workers_per_trial": 2, "lanes": 1},
}
Fault = Callable[[TrialRecord], None]


class Witness:
    """The launch's listener; does something once a trial has finished an epoch.

    Args:
        faults: What, by (trial, epoch); each in a thread, after a while: the next epoch has begun by then.
    """

    def __init__(self, faults: dict[tuple[str, int], Fault] | None = None) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []
        self.errors: list[Exception] = []
        self._faults = dict(faults or {})
        self.threads: list[threading.Timer] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def epoch_finished(self, record: TrialRecord) -> None:
        fault = self._faults.pop((record.name, record.epochs), None)
        if fault is not None:
            self.threads.append(threading.Timer(0.3, self._do, (fault, record)))
            self.threads[-1].start()

    def _do(self, fault: Fault, record: TrialRecord) -> None:
        try:
            fault(record)
        except Exception as error:
            self.errors.append(error)

    def trial_noted(self, record: TrialRecord) -> None:
        self.notes += [f"{record.name}: {note}" for note in record.notes[-1:]]

    def __getattr__(self, event: str) -> Any:
        if event not in ("arm_started", "test_scored", "progress", "trial_started", "trial_ended"):
            raise AttributeError(event)
        return lambda *_: None


def run(
    hub: Any,
    storage: Path,
    faults: dict[tuple[str, int], Fault] | None = None,
    tracking_uri: str | None = None,
    **changes: Any,
) -> tuple[LaunchOutcome, Witness]:
    """Run a sweep on the lane, everything real but that Ray and the lane are there already."""
    sweep = SweepConfig.model_validate({**SWEEP, **changes})
    stores = Stores(storage, tracking_uri or f"sqlite:///{storage / 'mlflow.db'}")
    plan = Plan(sweep, Path("faults.yaml"), "name: faults\n", (), stores, Machine(2, 0, "here"), RESOURCES, None)
    plan.folder.mkdir(parents=True)
    if tracking_uri is None:
        put_empty_store(storage / "mlflow.db")
    witness = Witness(faults)
    with one_figure():
        outcome = run_on(plan, hub, witness, "pytest")
    for thread in witness.threads:
        thread.join(60)
    assert witness.errors == []
    assert not witness._faults, f"the moment of {list(witness._faults)} never came"
    return outcome, witness


def same_each_run(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics without those that a clock or a memory gauge gave."""
    return {key: value for key, value in metrics.items() if not key.startswith(("time/", "memory/", "system/"))}


def numbers(outcome: LaunchOutcome) -> list[tuple[Any, ...]]:
    """Return of each trial, in order, what two runs of a sweep have in common."""
    return [
        (record.name, record.outcome, record.parameters, [same_each_run(epoch) for epoch in record.history])
        for record in outcome.result.records
    ] + [("test", same_each_run(scores)) for scores in outcome.result.test.values()]


def in_mlflow(tracking_uri: str, name: str = "faults") -> dict[str, Any]:
    """Return of each trial what MLflow has: status, tags, parameters, the history of each metric, artifacts."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name(name)
    found: dict[str, Any] = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        key = run.info.run_name if "mlflow.parentRunId" in run.data.tags else "sweep"
        assert key not in found, f"{key} has two runs"
        histories = {
            metric: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]
            for metric in same_each_run(run.data.metrics)
        }
        found[key] = {
            "status": run.info.status,
            "outcome": run.data.tags.get("outcome"),
            "params": run.data.params if key != "sweep" else None,
            "metrics": histories,
            "artifacts": sorted(_artifacts(client, run.info.run_id)),
        }
    return found


def _artifacts(client: Any, run_id: str, folder: str | None = None) -> list[str]:
    files: list[str] = []
    for entry in client.list_artifacts(run_id, folder):
        files += _artifacts(client, run_id, entry.path) if entry.is_dir else [entry.path]
    return files


def in_study(storage: Path, name: str = "faults-mdr") -> list[tuple[Any, ...]]:
    """Return the trials of the study: number, state, value, parameters, intermediate values."""
    import optuna

    file = next(storage.glob("sweeps/*/*/optuna.db"))
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{file}")
    return [(t.number, t.state.name, t.value, t.params, t.intermediate_values) for t in study.trials]


def _actors() -> list[Any]:
    from ray.util.state import list_actors

    here = ray.get_runtime_context().gcs_address  # there may be other Ray sessions on this machine
    return list(list_actors(here, filters=[("state", "=", "ALIVE")], limit=1000, detail=True))


def live_actors() -> list[str]:
    """Return the class names of the actors that live in the Ray session."""
    return sorted(actor.class_name for actor in _actors())


def placement_groups() -> int:
    """Return how many placement groups there are in the Ray session that are not removed."""
    return sum(group["state"] != "REMOVED" for group in ray.util.placement_group_table().values())


def trial_actor_pid() -> int:
    """Return the process of the one trial actor that runs."""
    return next(int(actor.pid) for actor in _actors() if actor.class_name == TRIAL_ACTOR)
