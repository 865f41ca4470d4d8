"""The hub: the actor that holds a sweep's mailboxes and leases its lanes. One small process for the whole sweep."""

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

Outcome = tuple[str, Any]
"""("ok", value), or a failure's kind and text. Exceptions are not raised through Ray, which would wrap them."""

_FAILURES: dict[str, type[Exception]] = {
    "diverged": TrialFailedDiverging,  # before its base class, as is device_lost
    "failed": TrialFailed,
    "device_lost": DeviceLost,
    "lost": LaneLost,
    "ended": LaneEnded,
}


def unwrap(outcome: Outcome) -> Any:
    """Return the value of an outcome, or raise its failure (TrialFailed, LaneLost, LaneEnded or a subclass)."""
    kind, value = outcome
    if kind in _FAILURES:
        raise _FAILURES[kind](value)
    return value


def _outcome_of(error: Exception) -> Outcome:
    return next(name for name, failure in _FAILURES.items() if isinstance(error, failure)), str(error)


class LaneHub:
    """Holds a mailbox for each lane, the leases of the lanes, and news for the user. `start_hub` makes it a Ray actor.

    Args:
        num_lanes: Number of lanes.
        world_size: Number of workers in each lane.
        stuck_worker_timeout_s: See `Mailbox`.
        stalled_worker_timeout_s: See `Mailbox`.
        max_restarts: How often a lane may lose a worker; it is given up when it loses one more.
        node: Ray's id of the node that the hub is on. The hub ends stuck workers on this node. Stuck workers on other
            nodes end themselves, except for stopped processes (SIGSTOP), which are left to Ray.
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
        """Lease a lane to a trial; the outcome's value is the index of the lane. See `Leases.lease`."""
        try:
            return "ok", await self._leases.lease(holder, token)
        except (LaneEnded, LaneLost) as error:
            return _outcome_of(error)

    async def release(self, holder: str, token: str | None = None) -> None:
        """Take a trial's lane back, or end its wait for one. See `Leases.release`."""
        await self._leases.release(holder, token)

    async def submit(self, holder: str, kind: CommandKind, payload: dict[str, Any]) -> Outcome:
        """Run a command on the lane that `holder` has; see `Mailbox.submit`.

        If the lane ends, the outcome is "lost", and the trial goes on on another lane. If no lane is left, or the sweep
        is stopping, the outcome is "ended".
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
        """Keep a line for the user until the driver takes it."""
        self._news.append(text)

    async def take_news(self) -> list[str]:
        """Return the lines for the user, in order, and forget them."""
        news = list(self._news)
        self._news.clear()
        return news

    async def join(self, lane: int, group: str, rank: int, process: WorkerProcess) -> int:
        """Announce a worker of a lane; see `Mailbox.join`."""
        return await self._mailboxes[lane].join(group, rank, process)

    async def next_command(self, lane: int, group: str, after: int) -> Command:
        """Wait for a lane's next command; see `Mailbox.next_command`."""
        return await self._mailboxes[lane].next_command(group, after)

    async def beat(self, lane: int, group: str, rank: int, count: int) -> bool:
        """Note a worker's count of steps; see `Mailbox.beat`."""
        return await self._mailboxes[lane].beat(group, rank, count)

    async def post(self, lane: int, group: str, rank: int, number: int, reply: Reply) -> None:
        """Take a worker's reply; see `Mailbox.post`."""
        await self._mailboxes[lane].post(group, rank, number, reply)

    async def ready_lanes(self) -> int:
        """Return how many lanes have all their workers."""
        return sum(mailbox.ready for mailbox in self._mailboxes)

    async def lane_places(self) -> list[list[str]]:
        """Return for each lane the addresses of its workers' nodes, by rank; [] for a lane that is not up."""
        return [mailbox.places for mailbox in self._mailboxes]

    async def worker_pids(self, lane: int) -> dict[int, int]:
        """Return the process ids of a lane's workers, by rank."""
        return self._mailboxes[lane].worker_pids

    async def lose_workers(self, lane: int) -> bool:
        """Note that Ray Train found workers of a lane gone; return whether it must not replace them.

        They are not to be replaced if the lane has ended or the sweep is stopping. A lane that has lost workers more
        than `max_restarts` times is ended here.
        """
        mailbox = self._mailboxes[lane]
        await mailbox.lose_workers()
        if mailbox.times_lost > self._max_restarts:
            await self.end_lane(lane, f"it lost a worker {mailbox.times_lost} times (resources.lane_restarts)")
        return self._mailboxes[lane].has_ended or await self.is_stopping()

    async def times_up(self, lane: int) -> int:
        """Return how often all workers of a lane have joined."""
        return self._mailboxes[lane].times_up

    async def end_lane(self, lane: int, why: str) -> None:
        """End a lane for good: its workers cannot start, or Ray Train has given up. Only the first call counts."""
        if self._mailboxes[lane].has_ended:
            return
        if not await self.is_stopping():
            self._news.append(f"lane {lane + 1} is given up: {why}")
        await self._leases.withdraw(lane, why)  # first: a trial that loses it below must not get it again
        await self._mailboxes[lane].end(why)

    async def stop(self) -> None:
        """Tell all workers to leave."""
        for mailbox in self._mailboxes:
            await mailbox.stop()

    async def is_stopping(self) -> bool:
        """Return whether the workers were told to leave."""
        return any(mailbox.is_stopping for mailbox in self._mailboxes)

    def _end_processes(self, workers: list[WorkerProcess]) -> None:
        """End the processes of `workers` that run on the hub's node. Ray Train then starts the lane's workers anew."""
        for worker in workers:
            end_process(worker, self._node)
