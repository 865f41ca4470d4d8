"""The loop of a lane's worker: it takes a command, runs it, and replies, until it is told to stop."""

import dataclasses
import datetime
import functools
import gc
import io
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
from mdr_tune.lanes.messages import FIRST_EPOCH, Command, Reply
from mdr_tune.lanes.processes import this_process
from mdr_tune.lanes.system_metrics import Machine, SystemWatch
from mdr_tune.training import Ranks, TrialSession
from mdr_tune.util.cpus import share_cpus
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress, no_progress
from mdr_tune.util.user_code import use_code

REPORT_EVERY_S = 1.0
"""Least time in seconds between two reports to the hub on the progress of a command."""


class LaneAborted(RuntimeError):  # noqa: N818
    """Raised in a worker to make Ray Train restart the lane."""


def run_worker(config: dict[str, Any]) -> None:
    """Run one worker of a lane until it is told to stop. This is the training function of the lane's TorchTrainer.

    `config` has `hub` (actor handle), `lane` (index of the lane), `cpus_per_worker`, `workers_on_a_node`,
    `collective_timeout_s`, and `prepare`: a function that checks the node and brings the data onto it before the worker
    joins the lane, or None. `system_metrics` says whether the machine is measured,
    and `code` is the `UserCode` of the sweep; both may be missing.
    """
    from ray.train.torch import get_device

    hub, lane = config["hub"], config["lane"]
    try:
        torch.set_num_threads(config["cpus_per_worker"])
        torch.backends.cudnn.benchmark = True  # pays off, since all steps of a trial have batches of one shape
        use_code(config.get("code"))  # before `prepare`, which checks configurations
        if config["prepare"] is not None:
            config["prepare"]()
        share_cpus(config["workers_on_a_node"], config["cpus_per_worker"])  # only one worker decodes in `prepare`
        worker = LaneWorker(
            Ranks.current(get_device()),
            config["collective_timeout_s"],
            _every_so_often(hub.report_progress.remote),
            reports_steps=lane == 0,
        )
        group = meet(worker.ranks, config["collective_timeout_s"], functools.partial(_give_up, hub, lane))
        rank = worker.ranks.rank
        node = ray.get_runtime_context().get_node_id()
        process = this_process(node, ray.util.get_node_ip_address())
        system = _system_watch(config, node, worker.ranks) if config.get("system_metrics") else nullcontext()
        last = ray.get(hub.join.remote(lane, group, rank, process))
    except Exception as error:  # a restart by Ray Train would fail the same way: end the lane at once
        if says_peer_lost(error):  # another worker or its node failed: new workers may do better
            raise
        ray.get(hub.end_lane.remote(lane, str(error) if isinstance(error, UserError) else traceback.format_exc()))
        raise
    with system, Heartbeat(lambda count: ray.get(hub.beat.remote(lane, group, rank, count)), worker.count):
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
                os._exit(1)  # an orderly exit calls the GPU's driver, which fails or never returns


def _system_watch(config: dict[str, Any], node: str, ranks: Ranks) -> SystemWatch:
    """Return the thread that measures this worker's `node` and GPU, and tells the hub in `config`."""
    hub, lane, device = config["hub"], config["lane"], ranks.device
    uuid = str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else None
    return SystemWatch(lambda: Machine(node, uuid), lambda measured: hub.measured.remote(lane, ranks.rank, measured))


def _give_up(hub: Any, lane: int, why: str) -> None:
    ray.get(hub.end_lane.remote(lane, why))
    os._exit(1)  # the main thread hangs in a collective


def _every_so_often(progress: Progress) -> Progress:
    """Return `progress`, but called at most once in REPORT_EVERY_S seconds, and always when all items are done."""
    next_at = 0.0

    def report(what: str, done: int, total: int) -> None:
        nonlocal next_at
        if done == total or time.monotonic() >= next_at:
            next_at = time.monotonic() + REPORT_EVERY_S
            progress(what, done, total)

    return report


class LaneWorker:
    """Runs the lane's commands on one worker, and holds the `TrialSession` of the trial that has the lane.

    `ranks` has the worker's rank and device. `collective_timeout_s` is the time limit of collective operations in the
    process groups that this worker makes. `progress` is called while a trial's features are computed, on rank 0 alone.
    With `reports_steps`, it is also called after each step of the first epoch, so that the sweep's time can be told.
    """

    def __init__(
        self,
        ranks: Ranks,
        collective_timeout_s: float,
        progress: Progress = no_progress,
        reports_steps: bool = False,
    ) -> None:
        self.ranks = ranks
        self._progress = progress if ranks.rank == 0 else no_progress
        self._report_steps = self._progress if reports_steps else no_progress
        self._collective_timeout_s = collective_timeout_s
        self._session: TrialSession | None = None
        self._is_reading = False
        self._reads = 0

    def count(self) -> int:
        """Return a count that grows with each step of a trial. While images are read, it grows with each call."""
        self._reads += self._is_reading
        session = self._session
        return self._reads + (0 if session is None else session.progress)

    def handle(self, command: Command) -> Reply:
        """Run `command` and return the reply. If the command raises an exception, the reply has a failure."""
        try:
            if command.renew_group and self.ranks.world_size > 1:
                self._renew_group()
            return Reply(value=getattr(self, f"_{command.kind}")(**command.payload))
        except Exception as error:
            failure = failure_of(error, self.ranks)
        if not failure.ends_group:  # else the process ends soon, and freeing a GPU's memory might wait for another rank
            self._forget_trial()
        return Reply(failure=failure)

    def _renew_group(self) -> None:
        """Form a new process group with the other ranks. Destroy the old group, unless it is torch's default group."""
        before = self.ranks.group
        group = dist.new_group(timeout=datetime.timedelta(seconds=self._collective_timeout_s))
        assert isinstance(group, dist.ProcessGroup)  # every rank of the lane is a member
        self.ranks = dataclasses.replace(self.ranks, group=group)
        if before is not None:
            dist.destroy_process_group(before)

    def _forget_trial(self) -> None:
        """Free the memory of the last trial's session, whose reference cycles only the garbage collector frees."""
        self._session = None
        if "torch._dynamo" in sys.modules:
            torch.compiler.reset()  # it keeps parts of models, which `gc.freeze` below would keep for ever
        gc.collect()
        gc.freeze()  # the objects left are mostly modules, which stay: the next collection takes 10 ms, not 200
        if self.ranks.device.type == "cuda":
            torch.cuda.empty_cache()

    def _start(self, trial: dict[str, Any], checkpoint: ray.ObjectRef | None) -> int:
        """Build the session of a trial, and return the number of epochs that the trial has completed.

        `trial` is the trial's configuration. `checkpoint` is Ray's reference to the bytes of the state to go on from;
        None to start from scratch.
        """
        self._forget_trial()
        config = TrialConfig.model_validate(trial)
        with self._reading():
            dataset = load_dataset(config.data)
            fetch_weights(config.backbone.name, config.backbone.weights)
        test = self._read_test(config) if "test" in config.measured_curves else None
        session = TrialSession(config, dataset, self.ranks, test=test)
        if checkpoint is not None:
            data = io.BytesIO(ray.get(checkpoint))
            session.load_state_dict(torch.load(data, map_location="cpu", weights_only=True))
        self._session = session  # from here on, `count` has its progress
        session.prepare_features(self._progress)
        return session.epoch

    def _epoch(self) -> dict[str, Any]:
        """Train and validate one epoch. Return its metrics, the name of the `device`, and at some epochs `distances`.

        `distances` is the `DistanceSnapshot` of the epoch, as a dictionary.
        """
        session = self._running()
        report, self._report_steps = self._report_steps, no_progress
        session.after_step = functools.partial(report, FIRST_EPOCH)
        metrics = session.run_epoch()
        snapshot = {} if session.snapshot is None else {"distances": session.snapshot.as_dict()}
        return {**metrics, "device": session.device_name, **snapshot}

    def _save(self) -> ray.ObjectRef | None:
        """Return a reference to the bytes of a checkpoint. Only rank 0 makes one; the other ranks return None."""
        if self.ranks.rank != 0:
            return None
        buffer = io.BytesIO()
        torch.save(self._running().state_dict(), buffer)
        return ray.put(buffer.getvalue())

    def _test(self) -> dict[str, Any]:
        """Evaluate on the test classes, and return `metrics` and `details`. Only `sweep.finals` sends this command.

        On rank 0, `details` is a reference to the details of each query; on other ranks it is None.
        """
        session = self._running()
        metrics, details = session.examine_test(self._read_test(session.config))
        return {"metrics": metrics, "details": ray.put(details) if self.ranks.rank == 0 else None}

    def _read_test(self, config: TrialConfig) -> ImageSplit:
        """Return the images of the test classes, from the data set of `config`.

        This is called for the final evaluation, and for trials of an ablation that are tested after every epoch.
        """
        with self._reading():
            return read_test_split(config.data)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Make `count` grow during the block, so that decoding images for minutes does not look like a stall."""
        self._is_reading = True
        try:
            yield
        finally:
            self._is_reading = False

    def _running(self) -> TrialSession:
        if self._session is None:
            raise RuntimeError("no trial is running in this lane: it failed, or was never started")
        return self._session
