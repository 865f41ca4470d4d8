"""A recorded sweep for the commands that read one."""

import math
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.trial_record import Outcome, TrialRecord
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.tracker import Tracker
from tests.empty_store import put_empty_store

METRIC = "val/recall_at_1"


def record_sweep(storage: Path, name: str, trials: int = 10, status: str = "FINISHED") -> Tracker:
    """Write a sweep of `trials` of mdr, the third of which diverges, and one of triplet into `storage`/mlflow.db."""
    storage.mkdir(exist_ok=True)
    put_empty_store(storage / "mlflow.db")
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    experiment = open_experiment(client, name, storage / "mlartifacts")
    tracker = Tracker(client, experiment, "sweep 1", METRIC, {}, {}, "best", second_metric="time/images_per_s")
    chance = np.random.default_rng(0)
    for number in range(trials + 1):
        weight = float(10 ** chance.uniform(-2, 0))
        arm = "mdr" if number < trials else "triplet"
        config = TrialConfig.model_validate({"epochs": 4, "mdr": {"weight": weight} if arm == "mdr" else None})
        parameters = {"mdr.weight": weight, "mdr.levels.count": 3 + number % 2} if arm == "mdr" else {}
        index = number + 1 if arm == "mdr" else 1
        trial = TrialRecord(f"{arm}-{index:03d}", arm, index - 1, parameters, config.model_dump())
        tracker.trial_started(trial)
        outcome: Outcome = "diverged" if index == 3 else "stopped_early" if index == 2 else "completed"
        for epoch in range(1, 3 if outcome == "stopped_early" else 5):
            value = 60 - 10 * abs(math.log10(weight) + 1) + epoch
            speed = {"time/images_per_s": 500.0 + number, "time/epoch_s": 2.5, "memory/peak_gib": 1.25}
            trial.history.append({"epoch": float(epoch), METRIC: value, "train/loss": 1 / epoch, **speed})
            tracker.epoch_finished(trial)
        trial.outcome = outcome
        tracker.trial_ended(trial)
    if status == "RUNNING":
        tracker.flush()
    else:
        tracker.close("FINISHED")
    return tracker
