"""The other side: plain Ray Tune as its documentation has it, with the same sampler and the same trials.

`OptunaSearch` on a sqlite store, Ray's `MLflowLoggerCallback` on another, actors reused; all else as Tune has it.

    python -m scale.theirs STAMPS_FILE FOLDER TRIALS EPOCHS FIRST
"""

import logging
import sys
from pathlib import Path
from typing import Any

import ray
from optuna.storages import RDBStorage
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch

from mdr_tune.search.seeded_sampler import make_sampler
from mdr_tune.sweep.plan import Plan
from mdr_tune.util.quiet_optuna import quiet_optuna
from scale.meter import Meter, Stamps
from scale.search import METRIC, RANGES, make_plan
from scale.trial import Nothing


class MeterCallback(tune.Callback):
    """Stamps each report, at the same place of each: Tune tells its callbacks in turn."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles its callbacks with the experiment."""
        return {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        """A report has been dealt with."""
        self._meter.report()

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Keep its value."""
        self._meter.ended(trial.last_result[METRIC])


class Space:
    """The search space, in Optuna's define-by-run form."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def __call__(self, trial: Any) -> dict[str, Any]:
        """Draw each parameter; returns what is the same in all trials."""
        for name, (low, high, log) in RANGES.items():
            trial.suggest_float(name, low, high, log=log)
        return {"epochs": self._epochs}


def make_tuner(plan: Plan, first: int, meter: Meter) -> tune.Tuner:
    """Return the set-up, for the first trials of the plan."""
    folder, arm = plan.stores.storage, plan.arms[0]
    search = OptunaSearch(
        Space(plan.max_epochs),
        metric=METRIC,
        mode="max",
        sampler=make_sampler(plan.sweep.search, arm),
        study_name=f"{plan.sweep.name}-{arm.name}",
        storage=RDBStorage(f"sqlite:///{folder / 'optuna.db'}"),
    )
    return tune.Tuner(
        Nothing,
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            search_alg=search,
            num_samples=first,
            max_concurrent_trials=1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="plain",
            storage_path=str(folder / "tune"),
            callbacks=[
                MLflowLoggerCallback(tracking_uri=plan.stores.tracking_uri, experiment_name="plain"),
                MeterCallback(meter),
            ],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
            verbose=0,
        ),
    )


def run(trials: int, epochs: int, first: int, folder: Path) -> Stamps:
    """Run the first trials of the search; Ray is started and ended here."""
    plan = make_plan(trials, epochs, folder)
    folder.mkdir(parents=True, exist_ok=True)
    quiet_optuna()
    ray.init(address="local", num_cpus=plan.machine.cpus, log_to_driver=False, logging_level=logging.ERROR)
    try:
        meter = Meter()
        make_tuner(plan, first, meter).fit()
        meter.searched()
        meter.written()  # its writes are not queued
    finally:
        ray.shutdown()
    return meter.stamps


if __name__ == "__main__":
    run(int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), Path(sys.argv[2])).save(Path(sys.argv[1]))
