"""The hub: the Ray actor that holds the mailboxes of a sweep's lanes and leases the lanes to trials."""

import functools
from typing import Any

from mdr_tune.lanes.leases import Leases
from mdr_tune.lanes.mailbox import Mailbox
from mdr_tune.lanes.messages import (
    LOST_A_WORKER,
    Command,
    CommandKind,
    DeviceLost,
    LaneEnded,
    LaneLost,
    Reply,
    TrialFailed,
    TrialFailedDiverging,
    WorkerProcess,
)
from mdr_tune.lanes.processes import end_process
from mdr_tune.lanes.system_metrics import Measurement, named

Outcome = tuple[str, Any]
"""Result of a call of the hub: ("ok", value), or the kind and the text of a failure.

The hub returns failures instead of raising them, because Ray would wrap the exceptions in exceptions of its own.
"""

_FAILURES: dict[str, type[Exception]] = {
    "diverged": TrialFailedDiverging,  # before its base class, as is device_lost
    "failed": TrialFailed,
    "device_lost": DeviceLost,
    "lost": LaneLost,
    "ended": LaneEnded,
}


def unwrap(outcome: Outcome) -> Any:
    """Return the value of the hub's `outcome`. Raise TrialFailed, LaneLost, LaneEnded or a subclass for a failure."""
    kind, value = outcome
    if kind in _FAILURES:
        raise _FAILURES[kind](value)
    return value


def _outcome_of(error: Exception) -> Outcome:
    return next(name for name, failure in _FAILURES.items() if isinstance(error, failure)), str(error)


class LaneHub:
    """Holds a mailbox for each lane, the leases of the lanes, and messages for the user.

    A sweep has one hub. `start_hub` starts it as a Ray actor, a small process of its own. The arguments `world_size`,
    `stuck_worker_timeout_s` and `stalled_worker_timeout_s` are those of `Mailbox`.

    Args:
        num_lanes: Number of lanes.
        max_restarts: Number of times that a lane may lose a worker. At the next loss, the lane is given up.
        node: Ray's id of the hub's own node. The hub kills stuck workers on this node. A stuck worker on another node
            is ended by its own `Heartbeat` thread or, if its process was stopped by SIGSTOP, by Ray.
    """

    def __init__(
        self,
        num_lanes: int,
        world_size: int,
        stuck_worker_timeout_s: float,
        stalled_worker_timeout_s: float,
        max_restarts: int,
        node: str,
    ) -> None:
        self._node, self._max_restarts = node, max_restarts
        self._news: list[str] = []
        self._progress: tuple[str, int, int] | None = None
        self._measured: list[dict[int, Measurement]] = [{} for _ in range(num_lanes)]
        self._leases = Leases(num_lanes)
        self._mailboxes = [
            Mailbox(
                world_size,
                stuck_worker_timeout_s,
                stalled_worker_timeout_s,
                end_processes=self._end_processes,
                tell=self._news.append,
                tell_ready=functools.partial(self._leases.set_up, lane),
            )
            for lane in range(num_lanes)
        ]

    async def lease(self, holder: str, token: str = "") -> Outcome:
        """Wait for a free lane and lease it to the trial `holder`; the outcome's value is the lane's index.

        `token` identifies the actor that calls; see `Leases`.
        """
        try:
            return "ok", await self._leases.lease(holder, token)
        except (LaneEnded, LaneLost) as error:
            return _outcome_of(error)

    async def release(self, holder: str, token: str | None = None) -> None:
        """Take back the lane of the trial `holder`, or end its wait for a lane. `token`: see `Leases.release`."""
        await self._leases.release(holder, token)

    async def submit(self, holder: str, kind: CommandKind, payload: dict[str, Any]) -> Outcome:
        """Run a command on the lane of the trial `holder`; the outcome has the value of rank 0's reply.

        `kind` and `payload` are those of `Command`. If the lane ends, the kind of the outcome is "lost", and the trial
        can go on in another lane. If no lane is left or the sweep is stopping, the kind is "ended".
        """
        lane = self._leases.lane_of(holder)
        if lane is None:
            return "lost", LOST_A_WORKER if self._leases.has_lost(holder) else f"is not held by {holder}"
        try:
            return "ok", await self._mailboxes[lane].submit(
                kind, payload, is_wanted=lambda: self._leases.lane_of(holder) == lane
            )
        except LaneEnded as error:
            is_last = await self.is_stopping() or not self._leases.any_usable
            return _outcome_of(error) if is_last else ("lost", LOST_A_WORKER)
        except tuple(_FAILURES.values()) as error:
            return _outcome_of(error)

    async def tell(self, text: str) -> None:
        """Keep the line `text` for the user until the driver takes it by `take_news`."""
        self._news.append(text)

    async def take_news(self) -> list[str]:
        """Return the lines for the user since the last call, in order."""
        news = list(self._news)
        self._news.clear()
        return news

    async def report_progress(self, what: str, done: int, total: int) -> None:
        """Store for the driver that `done` of `total` items of the task `what` are done. Drop an earlier report."""
        self._progress = what, done, total

    async def take_progress(self) -> tuple[str, int, int] | None:
        """Return the last report of `report_progress`; None if there was none since the last call."""
        progress, self._progress = self._progress, None
        return progress

    async def measured(self, lane: int, rank: int, measurement: Measurement) -> None:
        """Keep the `measurement` by the worker `rank` of `lane`, in place of its last one."""
        self._measured[lane][rank] = measurement

    async def take_measured(self) -> list[tuple[str | None, dict[str, float]]]:
        """Return, for each lane, the trial that has it and what its workers measured since the last call.

        The trial is None if the lane is free. The values are empty if nothing was measured.
        """
        taken = [
            (self._leases.holder_of(lane), named([m for _, m in sorted(found.items())]))
            for lane, found in enumerate(self._measured)
        ]
        self._measured = [{} for _ in self._measured]
        return taken

    async def join(self, lane: int, group: str, rank: int, process: WorkerProcess) -> int:
        """Record that `process` is the worker `rank` of `group` in `lane`; return the number of the last command."""
        return await self._mailboxes[lane].join(group, rank, process)

    async def next_command(self, lane: int, group: str, after: int) -> Command:
        """Wait until `lane` has a command with a number above `after`, and return it to a worker of `group`."""
        return await self._mailboxes[lane].next_command(group, after)

    async def beat(self, lane: int, group: str, rank: int, count: int) -> bool:
        """Record that the worker `rank` of `group` in `lane` has made `count` steps; return False if it must end."""
        return await self._mailboxes[lane].beat(group, rank, count)

    async def post(self, lane: int, group: str, rank: int, number: int, reply: Reply) -> None:
        """Take the `reply` of the worker `rank` of `group` in `lane` to the command with this `number`."""
        await self._mailboxes[lane].post(group, rank, number, reply)

    async def ready_lanes(self) -> int:
        """Return the number of lanes whose workers are all there."""
        return sum(mailbox.ready for mailbox in self._mailboxes)

    async def lane_places(self) -> list[list[str]]:
        """Return, for each lane, its workers' nodes as addresses in rank order; an empty list if the lane is not up."""
        return [mailbox.places for mailbox in self._mailboxes]

    async def worker_pids(self, lane: int) -> dict[int, int]:
        """Return the process ids of the workers of `lane`. The keys are the ranks."""
        return self._mailboxes[lane].worker_pids

    async def lose_workers(self, lane: int) -> bool:
        """Record that Ray Train lost workers of `lane`; return True if Ray Train must not replace them.

        Workers are not replaced if the lane has ended or the sweep is stopping. This method ends the lane if the lane
        has lost workers more than `max_restarts` times.
        """
        mailbox = self._mailboxes[lane]
        await mailbox.lose_workers()
        if mailbox.times_lost > self._max_restarts:
            await self.end_lane(lane, f"it lost a worker {mailbox.times_lost} times (resources.lane_restarts)")
        return self._mailboxes[lane].has_ended or await self.is_stopping()

    async def times_up(self, lane: int) -> int:
        """Return how often all workers of `lane` have joined: 1 after the first start, 2 after a restart, and so on."""
        return self._mailboxes[lane].times_up

    async def end_lane(self, lane: int, why: str) -> None:
        """End `lane` for the reason `why`: it gets no more workers or trials. Do nothing if it has ended already."""
        if self._mailboxes[lane].has_ended:
            return
        if not await self.is_stopping():
            self._news.append(f"lane {lane + 1} is given up: {why}")
        await self._leases.withdraw(lane, why)  # first: a trial that loses it below must not get it again
        await self._mailboxes[lane].end(why)

    async def stop(self) -> None:
        """Tell the workers of all lanes to end. See `Mailbox.stop`."""
        for mailbox in self._mailboxes:
            await mailbox.stop()

    async def is_stopping(self) -> bool:
        """Return whether the sweep is over, so that the workers were told to end."""
        return any(mailbox.is_stopping for mailbox in self._mailboxes)

    def _end_processes(self, workers: list[WorkerProcess]) -> None:
        """Kill those `workers` that run on the hub's node. Ray Train then starts the lane's workers anew."""
        for worker in workers:
            end_process(worker, self._node)
