"""The actor that holds a sweep's mailboxes and leases its lanes. One small process for the whole sweep."""

from typing import Any

from mdr_tune.lanes.leases import Leases
from mdr_tune.lanes.mailbox import Mailbox
from mdr_tune.lanes.messages import Command, CommandKind, LaneEnded, LaneLost, Reply, TrialFailed

Outcome = tuple[str, Any]
"""("ok", value) or the kind of failure and its text. Exceptions are not raised through Ray, which would wrap them."""

_FAILURES: dict[str, type[Exception]] = {"failed": TrialFailed, "lost": LaneLost, "ended": LaneEnded}


def unwrap(outcome: Outcome) -> Any:
    """Return the value of an outcome, or raise its failure (TrialFailed, LaneLost or LaneEnded)."""
    kind, value = outcome
    if kind in _FAILURES:
        raise _FAILURES[kind](value)
    return value


class LaneHub:
    """One mailbox a lane, and who holds it. Made an async actor by `lane.start_hub`."""

    def __init__(self, num_lanes: int, world_size: int, stuck_worker_timeout_s: float) -> None:
        self._mailboxes = [Mailbox(world_size, stuck_worker_timeout_s) for _ in range(num_lanes)]
        self._leases = Leases(num_lanes)

    async def lease(self, holder: str) -> Outcome:
        """Lease a lane to a trial; the outcome's value is the lane's number."""
        try:
            return "ok", await self._leases.lease(holder)
        except LaneEnded as error:
            return "ended", str(error)

    async def release(self, holder: str) -> None:
        """Take a trial's lane back."""
        await self._leases.release(holder)

    async def submit(self, holder: str, kind: CommandKind, payload: dict[str, Any]) -> Outcome:
        """Run a command on the lane that `holder` has; see `Mailbox.submit`."""
        lane = self._leases.lane_of(holder)
        if lane is None:
            return "failed", f"{holder} does not hold a lane"
        try:
            return "ok", await self._mailboxes[lane].submit(kind, payload)
        except tuple(_FAILURES.values()) as error:
            return next(name for name, failure in _FAILURES.items() if isinstance(error, failure)), str(error)

    async def join(self, lane: int, group: str, rank: int, pid: int) -> int:
        """See `Mailbox.join`."""
        return await self._mailboxes[lane].join(group, rank, pid)

    async def next_command(self, lane: int, group: str, after: int) -> Command:
        """See `Mailbox.next_command`."""
        return await self._mailboxes[lane].next_command(group, after)

    async def post(self, lane: int, group: str, rank: int, number: int, reply: Reply) -> None:
        """See `Mailbox.post`."""
        await self._mailboxes[lane].post(group, rank, number, reply)

    async def ready_lanes(self) -> int:
        """Return how many lanes have all their workers."""
        return sum(mailbox.ready for mailbox in self._mailboxes)

    async def worker_pids(self, lane: int) -> dict[int, int]:
        """Return the process ids of a lane's workers, by rank."""
        return self._mailboxes[lane].worker_pids

    async def end_lane(self, lane: int, why: str) -> None:
        """A lane's trainer has given up."""
        await self._mailboxes[lane].end(why)
        await self._leases.withdraw(lane, why)

    async def stop(self) -> None:
        """Tell all workers to leave."""
        for mailbox in self._mailboxes:
            await mailbox.stop()
