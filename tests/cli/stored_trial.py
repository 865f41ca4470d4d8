"""A sweep with one trained trial in a store, with its checkpoint, its test results and a champion, made without Ray."""

from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import torch
from mlflow import MlflowClient

from mdr_tune.checkpoints.checkpoint_file import CHECKPOINT_FILE
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset, read_test_split
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.tracking.champion import register_champion
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.tracker import Tracker
from mdr_tune.training import TrialSession
from tests.cli.recorded_sweep import METRIC
from tests.empty_store import put_empty_store
from tests.mlflow_globals import mlflow_globals_kept


class StoredTrial(NamedTuple):
    """The session of the trial, its metrics on the test classes as the sweep recorded them, and its run's id."""

    session: TrialSession
    metrics: dict[str, float]
    run_id: str


def store_trial(storage: Path, name: str, config: dict[str, Any], trial: str = "mdr-001") -> StoredTrial:
    """Train the trial of `config` for an epoch, and record it in `storage` as a launch of the sweep `name` does."""
    storage.mkdir(exist_ok=True)
    put_empty_store(storage / "mlflow.db")
    checked = TrialConfig.model_validate({"epochs": 1, "iterations_per_epoch": 5, **config})
    session = TrialSession(checked, load_dataset(checked.data))
    history = session.run_epoch()
    folder = storage.parent / f"checkpoints_of_{name}" / trial
    folder.mkdir(parents=True)
    torch.save(session.state_dict(), folder / CHECKPOINT_FILE)
    metrics, details = session.examine_test(read_test_split(checked.data))
    with mlflow_globals_kept():
        mlflow.set_tracking_uri(f"sqlite:///{storage / 'mlflow.db'}")
        client = MlflowClient()
        tracker = Tracker(
            client, open_experiment(client, name, storage / "mlartifacts"), "sweep", METRIC, {}, {}, "best"
        )
        record = TrialRecord(trial, "mdr", 0, {}, checked.model_dump(), checkpoints={1: str(folder)})
        tracker.trial_started(record)
        record.history.append({key: float(value) for key, value in history.items()})
        tracker.epoch_finished(record)
        record.outcome = "completed"
        tracker.trial_ended(record)
        tracker.test_scored(record, metrics, details)
        tracker.flush()
        run_id = tracker.run_id(record)
        register_champion(client, tracker.experiment_id, run_id, name, folder / CHECKPOINT_FILE, METRIC)
        tracker.close("FINISHED")
    return StoredTrial(session, metrics, run_id)
