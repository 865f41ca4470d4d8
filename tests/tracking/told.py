"""Tell a tracker of a whole sweep that is known already, as a launch would."""

import json
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.tracker import Tracker

METRIC = "val/recall_at_1"


def open_tracker(client: MlflowClient, name: str, root: Path, **changes: Any) -> Tracker:
    experiment = open_experiment(client, name, root)
    arguments = {"run_name": "x", "metric": METRIC, "params": {}, "files": {}, "checkpoints": "best"}
    return Tracker(client, experiment, **{**arguments, **changes})


def told(client: MlflowClient, evidence: SweepEvidence, name: str, root: Path) -> Tracker:
    """Record an evidence as a launch of the sweep `name`; the tracker is open still."""
    facts = evidence.facts
    tracker = open_tracker(
        client,
        name,
        root,
        params={
            "search": {"sampler": facts.sampler, "seeds": facts.seeds},
            "workers_per_trial": facts.workers_per_trial,
            "images": facts.images,
            "versions": {"python": "0", "mdr_tune": "0"},  # those of the trials are told
        },
        files={"sweep.yaml": facts.sweep_file, "command.txt": facts.command + "\n"},
        repeat=lambda record: {
            "versions": {**facts.versions, "cuda": None},
            "source": {"commit": facts.commit, "dirty": False},
        },
    )
    for trial in evidence.sweep.trials:
        tell(tracker, trial.record)
        if trial.record.name in evidence.details:
            scores = {key: value for key, value in trial.metrics.items() if key.startswith("test/")}
            tracker.test_scored(trial.record, scores, evidence.details[trial.record.name])
    return tracker


def tell(tracker: Tracker, record: TrialRecord) -> None:
    """Tell of a trial's start, epochs and end, with the record as it was at each."""
    history, outcome, distances = record.history, record.outcome, record.distances
    record.history, record.outcome, record.distances = [], "running", []
    tracker.trial_started(record)
    for entry in history:
        record.history.append(entry)
        tracker.epoch_finished(record)
    record.outcome, record.distances = outcome, distances
    tracker.trial_ended(record)


def plain(details: Any) -> Any:
    """Return details as values that `==` compares; arrays with their types, NaN as text."""
    if hasattr(details, "tolist"):
        return [str(details.dtype), details.shape, json.dumps(details.tolist())]
    if isinstance(details, dict):
        return {key: plain(one) for key, one in details.items()}
    if isinstance(details, list):
        return [plain(one) for one in details]
    return {key: plain(value) for key, value in vars(details).items()} if hasattr(details, "__dict__") else details
