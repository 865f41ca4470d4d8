"""What is done once, after the search, for the trials that a report names: their quality on the test classes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ObjectLostError, OwnerDiedError

from mdr_tune.checkpoints.checkpoint_file import CheckpointDamaged, read_checkpoint
from mdr_tune.lanes.hub import unwrap
from mdr_tune.lanes.messages import LaneLost
from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.trial_record import TrialRecord

TRIES = 3
"""How often an evaluation is begun: a lane that loses a worker comes back."""


def best_checkpoint(record: TrialRecord, metric: str) -> Path:
    """Return the folder of the checkpoint of the trial's best epoch."""
    best = record.best(metric)
    assert best is not None
    _, epoch = best
    return Path(record.checkpoints[epoch])


@dataclass(frozen=True)
class TestResult:
    """What an evaluation on the test classes gave."""

    __test__ = False  # for pytest: not a test

    metrics: dict[str, float]
    details: TestDetails


def evaluate_on_test(hub: Any, record: TrialRecord, metric: str) -> TestResult:
    """Return what a trial is worth on the test classes at its best epoch, computed on a lane.

    This is the only place that asks for the test split once the search is over.

    Raises:
        CheckpointDamaged: The checkpoint of the best epoch cannot be read.
        LaneLost: The lane lost a worker each time (or Ray's errors of a lost object).
    """
    holder = f"test-of-{record.name}"
    checkpoint = ray.put(read_checkpoint(best_checkpoint(record, metric)))
    for last in (*[False] * (TRIES - 1), True):
        unwrap(ray.get(hub.lease.remote(holder)))
        try:
            unwrap(ray.get(hub.submit.remote(holder, "start", {"trial": record.config, "checkpoint": checkpoint})))
            found = unwrap(ray.get(hub.submit.remote(holder, "test", {})))
            return TestResult(found["metrics"], ray.get(found["details"]))
        except (LaneLost, OwnerDiedError, ObjectLostError):
            if last:
                raise
        finally:
            ray.get(hub.release.remote(holder))
    raise AssertionError("the last try returns or raises")


def side_by_side(
    evaluate: Callable[[TrialRecord], TestResult], records: Sequence[TrialRecord], at_once: int
) -> Iterator[tuple[TrialRecord, TestResult | CheckpointDamaged]]:
    """Evaluate trials, so many at once; yields each with its result, or with what is wrong with its checkpoint, as it
    is done. If the block that iterates is left, what has not begun never does.

    Args:
        evaluate: Called in threads.
    """
    pool = ThreadPoolExecutor(max(1, at_once), "evaluate")
    try:
        futures = {pool.submit(evaluate, record): record for record in records}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except CheckpointDamaged as error:
                yield futures[future], error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
