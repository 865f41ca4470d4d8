"""Evaluate trials on the test classes after the search. Each trial is evaluated only once."""

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
"""Largest number of attempts at an evaluation. A lane that loses a worker restarts, so another attempt may succeed."""


def best_checkpoint(record: TrialRecord, metric: str) -> Path:
    """Return the folder with the checkpoint of `record`'s best epoch by `metric`, a metric that the trial measured."""
    best = record.best(metric)
    assert best is not None
    _, epoch = best
    return Path(record.checkpoints[epoch])


@dataclass(frozen=True)
class TestResult:
    """Metrics of a trial on the test classes, such as `test/recall_at_1`, and the details of each query."""

    __test__ = False  # for pytest: not a test

    metrics: dict[str, float]
    details: TestDetails


def evaluate_on_test(hub: Any, record: TrialRecord, metric: str) -> TestResult:
    """Evaluate the best epoch of `record` by `metric` on the test classes, on a lane that `hub` leases.

    After the search, this is the only function that reads the test split.

    Raises:
        CheckpointDamaged: The checkpoint of the best epoch cannot be read.
        LaneLost: The lane lost a worker in each attempt.
        OwnerDiedError, ObjectLostError: Ray lost an object of the evaluation in the last attempt.
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
    """Call `evaluate` for each of `records`, up to `at_once` at a time; yield each record with its result.

    A result is yielded as soon as it is there. If a trial's checkpoint is damaged, its record is yielded with the error
    in place of a result. If the caller stops iterating early, evaluations that have not begun are cancelled.
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
