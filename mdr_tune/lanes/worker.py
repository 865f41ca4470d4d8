"""What each worker of a lane does: take the next command, run it on the trial's session, reply. Until told to stop."""

import dataclasses
import datetime
import functools
import gc
import io
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import torch
import torch.distributed as dist

from mdr_tune.backbones.weights import fetch_weights
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset, read_test_split
from mdr_tune.data.dataset import ImageSplit
from mdr_tune.lanes.failures import failure_of, says_peer_lost
from mdr_tune.lanes.heartbeat import Heartbeat
from mdr_tune.lanes.meeting import meet
from mdr_tune.lanes.messages import Command, Reply
from mdr_tune.lanes.processes import this_process
from mdr_tune.training import Ranks, TrialSession
from mdr_tune.util.cpus import share_cpus
from mdr_tune.util.errors import UserError


class LaneAborted(RuntimeError):  # noqa: N818
    """Raised in the worker to make Ray Train restart the lane."""


def run_worker(config: dict[str, Any]) -> None:
    """The training function of a lane's TorchTrainer.

    Args:
        config: `hub` (actor handle), `lane` (number), `cpus_per_worker`, `workers_on_a_node`, `collective_timeout_s`,
            and `prepare`, which is called before the worker joins, or None: it checks the node and brings the data onto
            it.
    """
    from ray.train.torch import get_device

    hub, lane = config["hub"], config["lane"]
    try:
        torch.set_num_threads(config["cpus_per_worker"])
        torch.backends.cudnn.benchmark = True  # all steps of a trial have batches of one shape
        if config["prepare"] is not None:
            config["prepare"]()
        share_cpus(config["workers_on_a_node"], config["cpus_per_worker"])  # `prepare` decodes in one process of all
        worker = LaneWorker(Ranks.current(get_device()), config["collective_timeout_s"])
        group = meet(worker.ranks, config["collective_timeout_s"], functools.partial(_give_up, hub, lane))
        rank = worker.ranks.rank
        process = this_process(ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address())
        last = ray.get(hub.join.remote(lane, group, rank, process))
    except Exception as error:  # would be the same after each of Ray Train's restarts: tell the trials at once
        if says_peer_lost(error):  # another worker's failure, or its node's: with new workers it may go well
            raise
        ray.get(hub.end_lane.remote(lane, str(error) if isinstance(error, UserError) else traceback.format_exc()))
        raise
    with Heartbeat(lambda count: ray.get(hub.beat.remote(lane, group, rank, count)), worker.count):
        while True:
            command: Command = ray.get(hub.next_command.remote(lane, group, last))
            if command.kind == "stop":
                return
            if command.kind == "abort":
                raise LaneAborted("the lane is restarted because a worker failed or fell silent")
            reply = worker.handle(command)
            last = command.number
            ray.get(hub.post.remote(lane, group, rank, last, reply))
            if reply.failure is not None and reply.failure.kind == "device_lost":
                os._exit(1)  # to leave in order takes calls of the GPU's driver, which fail or never return


def _give_up(hub: Any, lane: int, why: str) -> None:
    ray.get(hub.end_lane.remote(lane, why))
    os._exit(1)  # the main thread is in a collective that does not end


class LaneWorker:
    """Runs commands; holds the session of the trial that has the lane.

    Args:
        ranks: Of the lane.
        collective_timeout_s: How long a collective of a new process group may take.
    """

    def __init__(self, ranks: Ranks, collective_timeout_s: float) -> None:
        self.ranks = ranks
        self._collective_timeout_s = collective_timeout_s
        self._session: TrialSession | None = None
        self._is_reading = False
        self._reads = 0

    def count(self) -> int:
        """Return a number that grows while this worker gets on: with steps, and all the time that it reads data."""
        self._reads += self._is_reading
        session = self._session
        return self._reads + (0 if session is None else session.progress)

    def handle(self, command: Command) -> Reply:
        """Run one command; an exception becomes a reply."""
        try:
            if command.renew_group and self.ranks.world_size > 1:
                self._renew_group()
            return Reply(value=getattr(self, f"_{command.kind}")(**command.payload))
        except Exception as error:
            failure = failure_of(error, self.ranks)
        if not failure.ends_group:  # else the process ends, and to free memory of a GPU may wait for another rank
            self._forget_trial()
        return Reply(failure=failure)

    def _renew_group(self) -> None:
        """Join the other ranks in a new process group, and leave the one before, unless it is torch's default."""
        before = self.ranks.group
        group = dist.new_group(timeout=datetime.timedelta(seconds=self._collective_timeout_s))
        assert isinstance(group, dist.ProcessGroup)  # every rank of the lane is a member
        self.ranks = dataclasses.replace(self.ranks, group=group)
        if before is not None:
            dist.destroy_process_group(before)

    def _forget_trial(self) -> None:
        """Free what the last trial had. A session is in circles of references, which only the collector frees."""
        self._session = None
        if "torch._dynamo" in sys.modules:
            torch.compiler.reset()  # what it keeps of a model would be frozen for ever
        gc.collect()
        gc.freeze()  # what is here now stays, modules above all: the next collection takes 10 ms instead of 200
        if self.ranks.device.type == "cuda":
            torch.cuda.empty_cache()

    def _start(self, trial: dict[str, Any], checkpoint: ray.ObjectRef | None) -> int:
        """Build the trial anew, or from a checkpoint; returns the epochs that it has completed."""
        self._forget_trial()
        config = TrialConfig.model_validate(trial)
        with self._reading():
            dataset = load_dataset(config.data.name, **config.data.arguments())
            fetch_weights(config.backbone.name, config.backbone.weights)
        test = self._read_test(config) if "test" in config.measured_curves else None
        session = TrialSession(config, dataset, self.ranks, test=test)
        if checkpoint is not None:
            data = io.BytesIO(ray.get(checkpoint))
            session.load_state_dict(torch.load(data, map_location="cpu", weights_only=True))
        self._session = session
        return session.epoch

    def _epoch(self) -> dict[str, Any]:
        """Return the epoch's metrics, the `device` that they were made on, and at some epochs the `distances`."""
        session = self._running()
        metrics = session.run_epoch()
        snapshot = {} if session.snapshot is None else {"distances": session.snapshot.as_dict()}
        return {**metrics, "device": session.device_name, **snapshot}

    def _save(self) -> ray.ObjectRef | None:
        """Return a reference to the checkpoint's bytes; on rank 0 only, where the mailbox looks."""
        if self.ranks.rank != 0:
            return None
        buffer = io.BytesIO()
        torch.save(self._running().state_dict(), buffer)
        return ray.put(buffer.getvalue())

    def _test(self) -> dict[str, Any]:
        """Evaluate on the test classes; returns the metrics, and on rank 0 a reference to the details.

        Only `sweep.finals` asks for it.
        """
        session = self._running()
        metrics, details = session.examine_test(self._read_test(session.config))
        return {"metrics": metrics, "details": ray.put(details) if self.ranks.rank == 0 else None}

    def _read_test(self, config: TrialConfig) -> ImageSplit:
        """Return the test classes: for the final evaluation, and for trials that are to be evaluated on them on the
        way, which no search may have."""
        with self._reading():
            return read_test_split(config.data.name, **config.data.arguments())

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Say that it gets on within the block, which may decode images for minutes: that is no stall."""
        self._is_reading = True
        try:
            yield
        finally:
            self._is_reading = False

    def _running(self) -> TrialSession:
        if self._session is None:
            raise RuntimeError("no trial is running in this lane: it failed, or was never started")
        return self._session
