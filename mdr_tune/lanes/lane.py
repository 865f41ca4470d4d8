"""Start the hub and the lanes of a sweep, each lane a `TorchTrainer.fit()` in a thread of the driver; stop them."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError

from mdr_tune.lanes.hub import LaneHub
from mdr_tune.lanes.resources import LaneResources

STOP_TIMEOUT_S = 30.0
SHORTEST_COLLECTIVE_TIMEOUT_S = 7200.0
"""The first collective waits for the node that has to decode the data set first. A worker that hangs later is found by
the watch for stalls, long before."""
QUICK_START_FAILURES = 3
"""How often in a row the workers of a lane may fail to start: waiting for a node is no failure, see
`RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S`."""
PLACEMENT_STRATEGIES = {"pack": "PACK", "spread": "SPREAD"}


def start_hub(resources: LaneResources) -> Any:
    """Start the hub on the driver's node."""
    here = ray.get_runtime_context().get_node_id()
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    actor = ray.remote(num_cpus=0, max_concurrency=10_000, scheduling_strategy=strategy)(LaneHub)
    return actor.remote(
        resources.num_lanes,
        resources.workers_per_lane,
        resources.stuck_worker_timeout_s,
        resources.stalled_worker_timeout_s,
        here,
    )


class Lanes:
    """The running lanes of a sweep.

    Args:
        resources: How many, and what each worker gets.
        name: Unique for this launch; Ray Train resumes a run of the same name.
        storage: Folder for Ray Train's own records.
        prepare: Called by each worker, on its node, before it takes commands; whatever it raises ends the lane.
    """

    def __init__(
        self, resources: LaneResources, name: str, storage: Path, prepare: Callable[[], None] | None = None
    ) -> None:
        self.hub = start_hub(resources)
        self._stopping = False
        trainers = [
            _trainer(self.hub, lane, resources, f"{name}-lane{lane}", storage, prepare)
            for lane in range(resources.num_lanes)
        ]
        self._threads = [
            threading.Thread(target=self._run, args=(lane, trainer), name=f"lane-{lane}", daemon=True)
            for lane, trainer in enumerate(trainers)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, lane: int, trainer: Any) -> None:
        """Body of a lane's thread: fit until the workers are told to stop, or Ray Train gives up."""
        try:
            trainer.fit()
            why = "its workers left"
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        with contextlib.suppress(RayActorError):
            if not self._stopping and not ray.get(self.hub.is_stopping.remote()):
                ray.get(self.hub.end_lane.remote(lane, why))

    def stop(self) -> None:
        """Tell the workers to leave, and wait until they have; those that still start end with Ray's session."""
        self._stopping = True
        try:
            are_up = ray.get(self.hub.ready_lanes.remote()) == len(self._threads)
            ray.get(self.hub.stop.remote())
        except RayActorError:  # the hub is gone, and with it the workers: what ended it is the error to see
            return
        for thread in self._threads:
            thread.join(STOP_TIMEOUT_S if are_up else 0)
        ray.kill(self.hub)


def _trainer(
    hub: Any, lane: int, resources: LaneResources, name: str, storage: Path, prepare: Callable[[], None] | None
) -> Any:
    """Return the TorchTrainer of one lane."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.config import LoggingConfig

    from mdr_tune.lanes.lost_workers import LostWorkers
    from mdr_tune.lanes.worker import run_worker

    per_worker: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    timeout_s = max(SHORTEST_COLLECTIVE_TIMEOUT_S, 2 * resources.stalled_worker_timeout_s)
    return TorchTrainer(
        run_worker,
        train_loop_config={
            "hub": hub,
            "lane": lane,
            "cpus_per_worker": resources.cpus_per_worker,
            "collective_timeout_s": timeout_s,
            "prepare": prepare,
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
                max_failures=resources.max_restarts, controller_failure_limit=QUICK_START_FAILURES
            ),
            logging_config=LoggingConfig(log_level="ERROR"),
            callbacks=[LostWorkers(hub, lane)],
        ),
    )
