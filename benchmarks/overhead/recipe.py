"""The documented pattern: a Tune function that builds a TorchTrainer and calls `fit()`, once for each trial.

After Ray's guide "Hyperparameter Tuning with Ray Tune" (docs.ray.io, Ray Train's user guides): the Train run is named
after the trial, `TuneReportCallback` passes metrics on, a checkpoint goes with every report, the driver function
reserves next to nothing. Search and bookkeeping are the same as on lanes.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import ray.train
import ray.tune
import torch
from ray.train.torch import TorchTrainer, get_device
from ray.tune.integration.ray_train import TuneReportCallback

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset
from mdr_tune.search.arm_search import ArmSearch
from mdr_tune.search.trial_source import TrialSource
from mdr_tune.sweep.events import TuneEvents
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.search_run import TRIAL_ACTOR
from mdr_tune.training import Ranks, TrialSession
from overhead.trials import Side, Stopwatch, open_books

LOOP_ENTERED, FIRST_STEP = "time/loop_entered_at", "time/first_step_at"
"""Stamps that a trial reports beside its metrics: its train loop runs, with all workers; training begins."""


def train_loop(config: dict[str, Any]) -> None:
    """What each DDP worker of a trial does: build the session, run its epochs, report each with a checkpoint."""
    stamps = {LOOP_ENTERED: time.time()}
    torch.set_num_threads(1)
    trial = TrialConfig.model_validate(config["trial"])
    dataset = load_dataset(trial.data)
    session = TrialSession(trial, dataset, Ranks.current(get_device()))
    stamps[FIRST_STEP] = time.time()
    for _ in range(trial.epochs):
        metrics = session.run_epoch()
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = None
            if session.ranks.rank == 0:
                torch.save(session.state_dict(), Path(folder, "checkpoint.pt"))
                checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report({**metrics, **stamps}, checkpoint=checkpoint)


def train_driver(config: dict[str, Any], num_workers: int, storage: str) -> None:
    """What Tune runs for each trial."""
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"trial": config["trial"]},
        scaling_config=ray.train.ScalingConfig(num_workers=num_workers),
        run_config=ray.train.RunConfig(
            name=f"train-trial_id={ray.tune.get_context().get_trial_id()}",
            storage_path=storage,
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def run_as_documented(plan: Plan) -> Side:
    """Run the plan's trials, one after another; Ray has been started."""
    arm, stopwatch = plan.arms[0], Stopwatch()
    search_start = time.time()
    with open_books(plan, stopwatch) as (ledger, rules):
        search = ArmSearch(arm, plan.sweep.search, plan.metrics, plan.folder / "optuna.db", "documented")
        ledger.study = search
        source = TrialSource(
            arm, search, ledger, 1, plan.sweep.training_seeds, False, {}, closed=lambda: rules.closed(arm.name)
        )
        trainable = ray.tune.with_parameters(
            train_driver, num_workers=plan.lanes.workers_per_lane, storage=str(plan.folder / "train")
        )
        tuner = ray.tune.Tuner(
            ray.tune.with_resources(trainable, TRIAL_ACTOR),
            tune_config=ray.tune.TuneConfig(metric=plan.metrics[0], mode="max", search_alg=source),
            run_config=ray.tune.RunConfig(
                name="documented",
                storage_path=str(plan.folder / "tune"),
                callbacks=[TuneEvents(arm, ledger, release_lane=lambda _: None, goes_on=source.goes_on)],
                verbose=0,
            ),
        )
        tuner.fit()
    return Side(ledger.records, stopwatch, search_start)
