"""The search that both sides run: three numbers, TPE, trials of so many epochs, one at a time."""

import math
from pathlib import Path

from mdr_tune.cluster.machine import this_machine
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.sweep.lane_layout import fit_lanes
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.stores import Stores
from mdr_tune.util.sqlite_address import sqlite_url

METRIC = "val/recall_at_1"
RANGES = {
    "mdr.weight": (0.01, 1.0, True),
    "loss.margin": (0.05, 0.5, False),
    "optimizer.learning_rate": (1e-4, 1e-1, True),
}
"""Of each parameter: lowest, highest, and whether its logarithm is searched."""
BEST = {"mdr.weight": 0.1, "loss.margin": 0.2, "optimizer.learning_rate": 3e-3}


def recall(parameters: dict[str, float], epoch: int) -> float:
    """Return a Recall@1 that rises with the epochs, and is highest at BEST: a bowl, in units of each range."""
    distance = 0.0
    for key, (low, high, log) in RANGES.items():
        on_axis = math.log if log else float
        distance += ((on_axis(parameters[key]) - on_axis(BEST[key])) / (on_axis(high) - on_axis(low))) ** 2
    return 80.0 * math.exp(-distance) * (1 - math.exp(-epoch / 3))


def make_plan(trials: int, epochs: int, folder: Path) -> Plan:
    """Return the launch of such a sweep, on one lane of one worker, its stores in `folder`."""
    space = {key: {"loguniform" if log else "uniform": [low, high]} for key, (low, high, log) in RANGES.items()}
    sweep = SweepConfig.model_validate(
        {
            "name": "sweep_scale",
            "metric": METRIC,
            "trial": {"data": {"name": "glyphs"}, "epochs": epochs},
            "search": {"sampler": "tpe", "trials": trials, "scheduler": "none"},
            "space": space,
            "resources": {"workers_per_trial": 1, "lanes": 1, "gpus_per_worker": 0},
        }
    )
    stores = Stores(folder, tracking_uri=sqlite_url(folder / "mlflow.db"))
    machine = this_machine()
    return Plan(sweep, Path("sweep_scale.yaml"), "", (), stores, machine, fit_lanes(sweep, machine), address=None)
