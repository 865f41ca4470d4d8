"""The mailbox of one lane: a trial submits a command, every worker runs it and replies, the trial gets one answer."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, assert_never

from mdr_tune.lanes.messages import (
    LOST_A_WORKER,
    Command,
    CommandKind,
    DeviceLost,
    Failure,
    FailureKind,
    LaneEnded,
    LaneLost,
    Reply,
    TrialFailed,
    TrialFailedDiverging,
    WorkerProcess,
)
from mdr_tune.lanes.stall_watch import StallWatch


async def _nobody(ready: bool) -> None:
    """Do nothing with `ready`: the default of `tell_ready`."""


_BLAMED_FIRST: tuple[FailureKind, ...] = ("device_lost", "failed", "diverged", "peer_lost")
"""Kinds of failures by priority. If several workers fail, the trial gets the failure whose kind comes first here."""


def _error_of(failure: Failure) -> Exception:
    match failure.kind:
        case "diverged":
            return TrialFailedDiverging(failure.text)
        case "failed":
            return TrialFailed(failure.text)
        case "device_lost":
            return DeviceLost(failure.text)
        case "peer_lost":
            return LaneLost(LOST_A_WORKER)
        case _:
            assert_never(failure.kind)


class Mailbox:
    """Passes commands to the workers of one lane, and collects their replies.

    The workers of a lane form a *group*: when one worker is lost, Ray Train replaces all of them by a new group. Each
    worker of a group announces itself by `join`. When the first worker of a new group joins, the old group is dead, and
    its messages are ignored. A group that cannot be used any more is *dismissed*: its workers are told to end at their
    next request for a command, or at their next heartbeat.

    Args:
        world_size: Number of workers in the lane.
        stuck_worker_timeout_s: Seconds in which the other workers must reply after one worker reported an exception. If
            they do not, they are probably stuck in a collective that will never complete, and the group is dismissed.
        stalled_worker_timeout_s: Seconds after which the group is dismissed if no worker makes a step during a command.
        end_processes: Function that is called with those processes of a dismissed group that may be stuck. It kills
            the processes that it can reach.
        tell: Function that takes a line for the user.
        tell_ready: Function that is called with True when all workers have joined, and with False when the group cannot
            be used any more. The call with False comes before the running command fails, so that the lane counts as
            lost when the trial handles the failure.
    """

    def __init__(
        self,
        world_size: int,
        stuck_worker_timeout_s: float,
        stalled_worker_timeout_s: float,
        end_processes: Callable[[list[WorkerProcess]], None] = lambda workers: None,
        tell: Callable[[str], None] = lambda text: None,
        tell_ready: Callable[[bool], Awaitable[None]] = _nobody,
    ) -> None:
        self.world_size = world_size
        self.stuck_worker_timeout_s = stuck_worker_timeout_s
        self.stalled_worker_timeout_s = stalled_worker_timeout_s
        self._end_processes, self._tell, self._tell_ready = end_processes, tell, tell_ready
        self._changed = asyncio.Condition()
        self._group: str | None = None
        self._joined: dict[int, WorkerProcess] = {}
        self._dismissed: set[str] = set()
        self._command = Command(0, "stop")  # never delivered: workers ask for numbers above 0
        self._replies: dict[int, Reply] = {}
        self._answer: asyncio.Future[Any] | None = None
        self._ended: str | None = None
        self._stopping = False
        self._watchdogs: set[asyncio.Task[None]] = set()
        self._stall_watch: StallWatch | None = None
        self._times_up = 0
        self._times_lost = 0
        self._restarts_for_trial = 0
        self._turn = asyncio.Lock()
        self._renew_group = False

    @property
    def ready(self) -> bool:
        """Whether all workers of the current group have joined, and the group was not dismissed."""
        return len(self._joined) == self.world_size and self._group not in self._dismissed

    @property
    def times_up(self) -> int:
        """Number of times that a whole group of workers has joined."""
        return self._times_up

    @property
    def times_lost(self) -> int:
        """Number of times that the lane lost a worker. A restart that a failed trial caused does not count."""
        return self._times_lost

    @property
    def has_ended(self) -> bool:
        """Whether the lane has ended, which means that it will get no workers any more."""
        return self._ended is not None

    @property
    def is_stopping(self) -> bool:
        """Whether the sweep is over, so that the workers were told to end."""
        return self._stopping

    @property
    def places(self) -> list[str]:
        """Addresses of the workers' nodes, in the order of the ranks; empty unless all workers are there."""
        return [self._joined[rank].address for rank in sorted(self._joined)] if self.ready else []

    @property
    def worker_pids(self) -> dict[int, int]:
        """Process ids of the workers that have joined. The keys are the ranks."""
        return {rank: process.pid for rank, process in self._joined.items()}

    async def submit(
        self, kind: CommandKind, payload: dict[str, Any], is_wanted: Callable[[], bool] = lambda: True
    ) -> Any:
        """Run a command of `kind` with the arguments `payload` on all workers; return the value in rank 0's reply.

        The command waits until all workers are there and the earlier command has ended; a trial that is gone may have
        left one running. `is_wanted` is called meanwhile, and returns whether the submitting trial still has the lane.

        Raises:
            TrialFailed: A worker's code raised an exception, or the trial diverged.
            LaneLost: A worker is gone, no worker made a step for too long, or `is_wanted` returned False.
            LaneEnded: The lane has ended, or the sweep is over.
        """
        async with self._turn:
            async with self._changed:
                await self._changed.wait_for(lambda: self.ready or self._ended is not None or not is_wanted())
                if self._ended is not None:
                    raise LaneEnded(self._ended)
                if not is_wanted():
                    raise LaneLost(LOST_A_WORKER)
                self._replies = {}
                loop = asyncio.get_running_loop()
                self._answer = loop.create_future()
                self._command = Command(self._command.number + 1, kind, payload, self._renew_group)
                self._renew_group = False
                self._stall_watch = StallWatch(self.stalled_worker_timeout_s, loop.time())
                self._start_watchdog(self._watch_for_stall(self._command.number, self._stall_watch))
                self._changed.notify_all()
            return await self._answer

    async def join(self, group: str, rank: int, process: WorkerProcess = WorkerProcess()) -> int:  # noqa: B008 - frozen
        """Record that `process` is the worker `rank` of `group`, and return the number of the last command.

        The worker then asks `next_command` for the command after this number.
        """
        async with self._changed:
            if group != self._group:
                if self._group is not None:
                    self._dismissed.add(self._group)
                self._group, self._joined, self._renew_group = group, {}, False
                await self._tell_ready(False)
                self._fail(LaneLost(LOST_A_WORKER))
            self._joined[rank] = process
            if self.ready:
                self._times_up += 1
                await self._tell_ready(True)
            self._changed.notify_all()
            return self._command.number

    async def lose_workers(self) -> None:
        """Dismiss the group after Ray Train noticed a lost worker. Count the loss unless a failed trial caused it."""
        if self._restarts_for_trial:
            self._restarts_for_trial -= 1
        else:
            self._times_lost += 1
        if self._group is not None and self._group not in self._dismissed:
            await self._dismiss()
            self._fail(LaneLost(LOST_A_WORKER))
            async with self._changed:
                self._changed.notify_all()

    async def next_command(self, group: str, after: int) -> Command:
        """Wait for the command that follows number `after`, and return it to a worker of `group`.

        If the group was dismissed, the command is `abort`. If the sweep is over, it is `stop`.
        """
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._stopping or group in self._dismissed or self._command.number > after
            )
            if group in self._dismissed:
                return Command(after, "abort")
            return Command(after, "stop") if self._stopping else self._command

    async def beat(self, group: str, rank: int, count: int) -> bool:
        """Record that the worker `rank` of `group` has made `count` steps. Return False if it must end, else True."""
        if group == self._group and self._stall_watch is not None:
            self._stall_watch.beat(rank, count, asyncio.get_running_loop().time())
        return group not in self._dismissed and not self._stopping

    async def post(self, group: str, rank: int, number: int, reply: Reply) -> None:
        """Store the `reply` of the worker `rank`. Ignore it if `group` or the command `number` is an old one."""
        if group != self._group or not self._is_running(number):
            return
        self._replies[rank] = reply
        is_device_lost = reply.failure is not None and reply.failure.kind == "device_lost"
        if len(self._replies) == self.world_size or is_device_lost:  # a worker without its GPU has left
            await self._settle()
        elif reply.failure is not None:
            self._start_watchdog(self._wait_for_others(number))

    def _is_running(self, number: int) -> bool:
        return number == self._command.number and self._answer is not None and not self._answer.done()

    def _start_watchdog(self, watch: Any) -> None:
        task = asyncio.create_task(watch)
        self._watchdogs.add(task)
        task.add_done_callback(self._watchdogs.discard)

    async def _wait_for_others(self, number: int) -> None:
        """Wait `stuck_worker_timeout_s` after a rank failed in command `number`, then answer the trial in any case."""
        await asyncio.sleep(self.stuck_worker_timeout_s)
        if self._is_running(number):
            await self._settle()

    async def _watch_for_stall(self, number: int, watch: StallWatch) -> None:
        """Ask `watch` repeatedly whether command `number` makes progress. Dismiss the group if it makes none."""
        while self._is_running(number):
            await asyncio.sleep(self.stalled_worker_timeout_s / 20)
            if self._is_running(number) and watch.has_stalled(asyncio.get_running_loop().time()):
                self._tell(
                    f"the workers of a lane made no step for {self.stalled_worker_timeout_s:g} s: the lane is "
                    "restarted, its trial goes on from its last checkpoint"
                )
                await self._dismiss()
                self._fail(LaneLost(f"made no step for {self.stalled_worker_timeout_s:g} s"))
                async with self._changed:
                    self._changed.notify_all()

    async def _settle(self) -> None:
        """Answer the trial from the replies so far. Dismiss the group if it cannot be used any more."""
        assert self._answer is not None
        replies = [self._replies[rank] for rank in sorted(self._replies)]
        failures = [reply.failure for reply in replies if reply.failure is not None]
        self._renew_group = any(failure.kind != "diverged" for failure in failures)
        worst = min(failures, key=lambda failure: _BLAMED_FIRST.index(failure.kind), default=None)
        if len(replies) < self.world_size or any(failure.ends_group for failure in failures):
            self._restarts_for_trial += worst is not None and worst.kind != "peer_lost"
            await self._dismiss()
        if worst is None:
            self._answer.set_result(self._replies[0].value)
        else:
            self._fail(_error_of(worst))
        async with self._changed:
            self._changed.notify_all()

    async def _dismiss(self) -> None:
        """Tell the workers of the group to end. Workers that have not replied may be stuck, so they are killed."""
        assert self._group is not None
        self._dismissed.add(self._group)
        await self._tell_ready(False)
        self._end_processes([process for rank, process in self._joined.items() if rank not in self._replies])

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    async def end(self, why: str) -> None:
        """End the lane: its commands fail with `LaneEnded`, whose text is the `why` of the first call."""
        async with self._changed:
            self._ended = self._ended or why
            self._fail(LaneEnded(self._ended))
            self._changed.notify_all()

    async def stop(self) -> None:
        """Tell the workers to end. Workers that are running a command are killed, as an epoch may last for hours."""
        async with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._is_running(self._command.number):
            self._end_processes([process for rank, process in self._joined.items() if rank not in self._replies])
            self._fail(LaneEnded("the sweep is over"))
        for watchdog in list(self._watchdogs):
            watchdog.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watchdog
