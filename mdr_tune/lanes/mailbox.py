"""The mailbox of one lane: a trial puts a command in, every worker takes it out, their replies make one answer.

Plain asyncio: the hub runs it inside of a Ray actor, the tests run it without Ray.
"""

import asyncio
import contextlib
from typing import Any

from mdr_tune.lanes.messages import Command, CommandKind, LaneEnded, LaneLost, Reply, TrialFailed


class Mailbox:
    """Commands for, and replies from, the workers of one lane.

    The workers of a lane come and go as a *group* (Ray Train replaces all of them when one is lost). A group announces
    itself by `join`; the appearance of a new group means that the one before is dead, whatever it still says.

    Args:
        world_size: Workers in the lane.
        stuck_worker_timeout_s: When a worker reported an exception: how long the others may stay silent, probably
            stuck in a collective that will never complete, before the group is told to leave.
    """

    def __init__(self, world_size: int, stuck_worker_timeout_s: float) -> None:
        self.world_size = world_size
        self.stuck_worker_timeout_s = stuck_worker_timeout_s
        self._changed = asyncio.Condition()
        self._group: str | None = None
        self._joined: dict[int, int] = {}
        self._dismissed: set[str] = set()
        self._command = Command(0, "stop")  # number 0 is never delivered
        self._replies: dict[int, Reply] = {}
        self._answer: asyncio.Future[Any] | None = None
        self._ended: str | None = None
        self._stopping = False
        self._watchdog: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._renew_group = False

    @property
    def ready(self) -> bool:
        """Whether all workers of the current group have joined and none was dismissed."""
        return len(self._joined) == self.world_size and self._group not in self._dismissed

    @property
    def worker_pids(self) -> dict[int, int]:
        """Process ids of the workers that have joined, by rank."""
        return dict(self._joined)

    async def submit(self, kind: CommandKind, payload: dict[str, Any]) -> Any:
        """Have all workers run a command; returns the value that rank 0 replied.

        Waits for the workers if they are not there yet, and for a command before it, whose trial may be gone.

        Raises:
            TrialFailed: A worker's code raised.
            LaneLost: A worker went away.
            LaneEnded: There will be no workers any more.
        """
        async with self._turn:
            async with self._changed:
                await self._changed.wait_for(lambda: self.ready or self._ended is not None)
                if self._ended is not None:
                    raise LaneEnded(self._ended)
                self._replies = {}
                self._answer = asyncio.get_running_loop().create_future()
                self._command = Command(self._command.number + 1, kind, payload, self._renew_group)
                self._renew_group = False
                self._changed.notify_all()
            return await self._answer

    async def join(self, group: str, rank: int, pid: int = 0) -> int:
        """Announce a worker; returns the number of the last command, after which it shall ask for the next."""
        async with self._changed:
            if group != self._group:
                if self._group is not None:
                    self._dismissed.add(self._group)
                self._group, self._joined, self._renew_group = group, {}, False
                self._fail(LaneLost("a worker of the lane was lost"))
            self._joined[rank] = pid
            self._changed.notify_all()
            return self._command.number

    async def next_command(self, group: str, after: int) -> Command:
        """Wait for the command that follows number `after`."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._stopping or group in self._dismissed or self._command.number > after
            )
            if group in self._dismissed:
                return Command(after, "abort")
            return Command(after, "stop") if self._stopping else self._command

    async def post(self, group: str, rank: int, number: int, reply: Reply) -> None:
        """Take a worker's reply. Replies of a dead group, or to an old command, are dropped."""
        if group != self._group or number != self._command.number or self._answer is None or self._answer.done():
            return
        self._replies[rank] = reply
        if len(self._replies) == self.world_size:
            await self._settle()
        elif reply.traceback is not None and (self._watchdog is None or self._watchdog.done()):
            self._watchdog = asyncio.create_task(self._wait_for_others(number))

    async def _wait_for_others(self, number: int) -> None:
        await asyncio.sleep(self.stuck_worker_timeout_s)
        if number == self._command.number and self._answer is not None and not self._answer.done():
            await self._settle()

    async def _settle(self) -> None:
        """Turn the replies that are there into the answer; dismiss the group if it cannot be used any more."""
        assert self._answer is not None
        failed = [self._replies[rank] for rank in sorted(self._replies) if self._replies[rank].traceback is not None]
        own = [reply for reply in failed if not reply.peer_lost]
        self._renew_group = bool(failed)
        if len(self._replies) < self.world_size or len(own) < len(failed):
            assert self._group is not None
            self._dismissed.add(self._group)
        if own:
            self._fail(TrialFailed(own[0].traceback))
        elif failed:
            self._fail(LaneLost(failed[0].traceback))
        else:
            self._answer.set_result(self._replies[0].value)
        async with self._changed:
            self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    async def end(self, why: str) -> None:
        """The lane's trainer has given up: nothing will be answered any more."""
        async with self._changed:
            self._ended = why
            self._fail(LaneEnded(why))
            self._changed.notify_all()

    async def stop(self) -> None:
        """Tell the workers to leave; what is in flight is abandoned."""
        async with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._watchdog is not None:
            self._watchdog.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watchdog
