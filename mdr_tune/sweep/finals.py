"""What is done once, after the search, for the trials that the report names: their quality on the test classes."""

from pathlib import Path
from typing import Any

import ray

from mdr_tune.lanes.hub import unwrap
from mdr_tune.lanes.trainable import CHECKPOINT_FILE
from mdr_tune.records import TrialRecord


def best_checkpoint(record: TrialRecord, metric: str) -> Path:
    """Return the checkpoint file of the trial's best epoch."""
    best = record.best(metric)
    assert best is not None
    _, epoch = best
    return Path(record.checkpoints[epoch], CHECKPOINT_FILE)


def evaluate_on_test(hub: Any, record: TrialRecord, metric: str) -> dict[str, float]:
    """Return the test metrics of a trial at its best validation epoch, computed on a lane.

    This is the only place that asks for the test split.
    """
    holder = f"test-of-{record.trial_id}"
    unwrap(ray.get(hub.lease.remote(holder)))
    try:
        checkpoint = ray.put(best_checkpoint(record, metric).read_bytes())
        unwrap(ray.get(hub.submit.remote(holder, "start", {"trial": record.config, "checkpoint": checkpoint})))
        metrics: dict[str, float] = unwrap(ray.get(hub.submit.remote(holder, "test", {})))
        return metrics
    finally:
        ray.get(hub.release.remote(holder))
