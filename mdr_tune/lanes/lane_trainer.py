"""Make the `TorchTrainer` that runs the workers of one lane."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.lanes.lost_workers import LostWorkers
from mdr_tune.lanes.ray_seams import LeanTrainer
from mdr_tune.lanes.worker import run_worker
from mdr_tune.util.user_code import UserCode

SHORTEST_COLLECTIVE_TIMEOUT_S = 7200.0
"""Least timeout of a collective operation. The first one waits for the slowest node to decode the data set."""
QUICK_START_FAILURES = 3
"""Number of failed starts of a lane's workers that one `fit()` of Ray Train tolerates. At the next one, it raises.

Waiting for a node is no failed start; see `RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S` in `cluster.ray_environment`.
"""
PLACEMENT_STRATEGIES = {"pack": "PACK", "spread": "SPREAD"}


def make_trainer(
    hub: Any,
    lane: int,
    resources: LaneResources,
    name: str,
    storage: Path,
    prepare: Callable[[], None] | None,
    code: UserCode | None = None,
) -> TorchTrainer:
    """Return the trainer whose `fit()` runs the workers of the lane with index `lane`, which report to the actor `hub`.

    The arguments `resources`, `storage`, `prepare` and `code` are those of `Lanes`. `name` is the name of the run in
    Ray Train. It must be new, because Ray Train resumes an earlier run of the same name.
    """
    per_worker: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    timeout_s = max(SHORTEST_COLLECTIVE_TIMEOUT_S, 2 * resources.stalled_worker_timeout_s)
    return _LaneTrainer(
        run_worker,
        train_loop_config={
            "hub": hub,
            "lane": lane,
            "cpus_per_worker": resources.cpus_per_worker,
            "workers_on_a_node": resources.workers_on_a_node,
            "collective_timeout_s": timeout_s,
            "prepare": prepare,
            "code": code,
            "system_metrics": resources.system_metrics,
        },
        torch_config=TorchConfig(timeout_s=round(timeout_s)),
        scaling_config=ScalingConfig(
            num_workers=resources.workers_per_lane,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=per_worker,
            placement_strategy=PLACEMENT_STRATEGIES[resources.placement],
            accelerator_type=resources.accelerator_type,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(
                max_failures=-1,  # no limit: the hub counts failures, as it knows why workers left
                controller_failure_limit=QUICK_START_FAILURES,
            ),
            # Otherwise NCCL's watchdog ends the process at a GPU error, before the worker can report the error.
            worker_runtime_env={"env_vars": {"TORCH_NCCL_RETHROW_CUDA_ERRORS": "0"}}
            if resources.gpus_per_worker
            else None,
            logging_config=LoggingConfig(log_level="ERROR"),
            callbacks=[LostWorkers(hub, lane)],
        ),
    )


class _LaneTrainer(LeanTrainer, TorchTrainer):
    """A TorchTrainer without the processes that a lane does not need."""
