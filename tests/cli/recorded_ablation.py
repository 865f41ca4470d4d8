"""A made-up ablation written into a real MLflow store, as a launch writes it, for the commands that read one."""

from copy import deepcopy
from pathlib import Path

from mlflow import MlflowClient

from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.tracker import Tracker
from tests.empty_store import put_empty_store


def record_evidence(storage: Path, evidence: SweepEvidence, status: str = "FINISHED") -> Tracker:
    """Write all that evidence has into `storage`/mlflow.db; returns the tracker, closed unless the sweep is to run."""
    storage.mkdir(exist_ok=True)
    put_empty_store(storage / "mlflow.db")
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    sweep, facts = evidence.sweep, evidence.facts
    experiment = open_experiment(client, sweep.name, storage / "mlartifacts")
    params = {
        "search.sampler": facts.sampler,
        "search.seeds": facts.seeds,
        "workers_per_trial": facts.workers_per_trial,
        **{f"images.{key}": text for key, text in facts.images.items()},
        **{f"versions.{key}": text for key, text in facts.versions.items()},
    }
    files = {"sweep.yaml": facts.sweep_file, "command.txt": facts.command}
    tracker = Tracker(client, experiment, f"{sweep.name} 1", sweep.metric, params, files, "none")
    for trial in evidence.sweep.trials:
        record = deepcopy(trial.record)
        record.config = TrialConfig.model_validate(record.config).model_dump()
        epochs, record.history, outcome = record.history, [], record.outcome
        record.outcome = "running"
        tracker.trial_started(record)
        for epoch in epochs:
            record.history.append(epoch)
            tracker.epoch_finished(record)
        record.outcome = outcome
        tracker.trial_ended(record)
        scores = {key: value for key, value in trial.metrics.items() if key.startswith("test/")}
        if scores:
            tracker.test_scored(record, scores, evidence.details.get(record.name))
    if status == "RUNNING":
        tracker.flush()
    else:
        tracker.close("FINISHED")
    return tracker
