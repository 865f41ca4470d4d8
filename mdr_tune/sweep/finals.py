"""What is done once, after the search, for the trials that the report names: their quality on the test classes."""

from pathlib import Path
from typing import Any

import ray

from mdr_tune.lanes.checkpoint_file import read_checkpoint
from mdr_tune.lanes.hub import unwrap
from mdr_tune.lanes.messages import LaneLost
from mdr_tune.records import TrialRecord

TRIES = 3
"""How often an evaluation is begun: a lane that loses a worker comes back."""


def best_checkpoint(record: TrialRecord, metric: str) -> Path:
    """Return the folder of the checkpoint of the trial's best epoch."""
    best = record.best(metric)
    assert best is not None
    _, epoch = best
    return Path(record.checkpoints[epoch])


def evaluate_on_test(hub: Any, record: TrialRecord, metric: str) -> dict[str, float]:
    """Return the test metrics of a trial at its best validation epoch, computed on a lane.

    This is the only place that asks for the test split.

    Raises:
        CheckpointDamaged: The checkpoint of the best epoch cannot be read.
        LaneLost: The lane lost a worker each time.
    """
    holder = f"test-of-{record.name}"
    checkpoint = ray.put(read_checkpoint(best_checkpoint(record, metric)))
    for last in (*[False] * (TRIES - 1), True):
        unwrap(ray.get(hub.lease.remote(holder)))
        try:
            unwrap(ray.get(hub.submit.remote(holder, "start", {"trial": record.config, "checkpoint": checkpoint})))
            metrics: dict[str, float] = unwrap(ray.get(hub.submit.remote(holder, "test", {})))
            return metrics
        except LaneLost:
            if last:
                raise
        finally:
            ray.get(hub.release.remote(holder))
    raise AssertionError("the last try returns or raises")
