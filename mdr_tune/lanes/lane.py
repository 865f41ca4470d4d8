"""Start and stop the hub and the lanes of a sweep. Each lane is a `TorchTrainer.fit()` in a thread of the driver."""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError

from mdr_tune.lanes.hub import LaneHub
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.lanes.ray_seams import controllers
from mdr_tune.util.user_code import UserCode

logger = logging.getLogger(__name__)
STOP_TIMEOUT_S = 30.0
STOP_POLL_S = 0.2
START_TRIES = 3
RESTART_AFTER_S = 5.0
"""Seconds to wait before a lane is started again. For some seconds, Ray still treats a lost node as alive."""


def start_hub(resources: LaneResources) -> Any:
    """Start the hub's actor on the driver's node for lanes of these `resources`, and return its handle."""
    here = ray.get_runtime_context().get_node_id()
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    actor = ray.remote(num_cpus=0, max_concurrency=10_000, scheduling_strategy=strategy)(LaneHub)
    return actor.remote(
        resources.num_lanes,
        resources.workers_per_lane,
        resources.stuck_worker_timeout_s,
        resources.stalled_worker_timeout_s,
        resources.max_restarts,
        here,
    )


class Lanes:
    """The running lanes of a sweep: `hub` is the handle of the hub's actor, and `threads` has a thread for each lane.

    Args:
        resources: Number of lanes, and what each worker gets.
        name: Beginning of the names of the Ray Train runs. It must be new, because Ray Train would resume an earlier
            run of the same name.
        storage: Folder for Ray Train's own records.
        prepare: Function that each worker calls on its node before it takes commands; None for no preparation. If it
            raises, the lane ends.
        code: Copy of the user's own modules, for the workers; None if there are none.
    """

    def __init__(
        self,
        resources: LaneResources,
        name: str,
        storage: Path,
        prepare: Callable[[], None] | None = None,
        code: UserCode | None = None,
    ) -> None:
        self.hub = start_hub(resources)
        self._resources, self._name, self._storage, self._prepare = resources, name, storage, prepare
        self._code = code
        self._stopping = False
        self._other_controllers = controllers()
        trainers = [self._trainer(lane, 0) for lane in range(resources.num_lanes)]  # not in threads: circular imports
        self.threads = [
            threading.Thread(target=self._run, args=(lane, trainer), name=f"lane-{lane}", daemon=True)
            for lane, trainer in enumerate(trainers)
        ]
        for thread in self.threads:
            thread.start()

    def _run(self, lane: int, trainer: Any) -> None:
        """Run the lane with index `lane` in its thread, until its workers are told to stop or cannot be started.

        `trainer` itself replaces lost workers, but its controller fails if a node goes away while workers are started
        on this node. Then a new trainer is started, at most `max_restarts` times. The lane is given up earlier if
        START_TRIES trainers in a row fail before all workers are there.
        """
        from ray.train import ControllerError

        failures = 0
        for attempt in range(1, self._resources.max_restarts + 2):
            times_up = self._ask(self.hub.times_up.remote(lane))
            try:
                trainer.fit()
                why, may_start_again = "its workers left", False
            except Exception as error:
                why, may_start_again = f"{type(error).__name__}: {error}", isinstance(error, ControllerError)
            if self._ask(self.hub.lose_workers.remote(lane)) is not False:
                return
            failures = failures + 1 if self._ask(self.hub.times_up.remote(lane)) == times_up else 1
            if failures == START_TRIES or not may_start_again:
                break
            logger.info("lane %d is started again: %s", lane + 1, why)
            time.sleep(RESTART_AFTER_S)
            trainer = self._trainer(lane, attempt)
        self._ask(self.hub.end_lane.remote(lane, why))

    def _trainer(self, lane: int, attempt: int) -> Any:
        from mdr_tune.lanes.lane_trainer import make_trainer

        name = f"{self._name}-lane{lane}" + (f"-{attempt}" if attempt else "")
        return make_trainer(self.hub, lane, self._resources, name, self._storage, self._prepare, self._code)

    def _ask(self, answer: Any) -> Any:
        """Return the hub's reply from Ray's reference `answer`; None if the lanes are stopping or the hub is gone."""
        if self._stopping:
            return None
        with contextlib.suppress(RayActorError):
            return ray.get(answer)
        return None

    def stop(self) -> None:
        """Tell the workers of all lanes to end, and wait for them. A lane that does not end is ended by force."""
        self._stopping = True
        try:
            are_up = [bool(places) for places in ray.get(self.hub.lane_places.remote())]
            ray.get(self.hub.stop.remote())
        except RayActorError:  # hub and workers are gone: the user should see the error that ended them
            return
        for thread, is_up in zip(self.threads, are_up, strict=True):
            thread.join(STOP_TIMEOUT_S if is_up else 0)
        end = time.monotonic() + STOP_TIMEOUT_S
        while any(thread.is_alive() for thread in self.threads) and time.monotonic() < end:
            for pid in controllers() - self._other_controllers:  # repeated: a controller may be starting
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)  # the lane's `fit()` then raises
            for thread in self.threads:  # a thread that calls Ray after its end would end this process
                thread.join(STOP_POLL_S)
        ray.kill(self.hub)
