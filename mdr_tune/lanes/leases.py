"""Which trial has which lane. Plain asyncio, as the mailbox."""

import asyncio

from mdr_tune.lanes.messages import LaneEnded


class Leases:
    """Leases of `num_lanes` lanes, by the id of the trial that holds them."""

    def __init__(self, num_lanes: int) -> None:
        self._usable = set(range(num_lanes))
        self._held: dict[str, int] = {}
        self._changed = asyncio.Condition()
        self._why_ended = ""

    def _free(self) -> set[int]:
        return self._usable - set(self._held.values())

    async def lease(self, holder: str) -> int:
        """Return a lane for `holder`, waiting for one if need be; the same lane if it holds one already.

        Raises:
            LaneEnded: No lane is left to wait for.
        """
        async with self._changed:
            if holder in self._held and self._held[holder] in self._usable:
                return self._held[holder]
            await self._changed.wait_for(lambda: bool(self._free()) or not self._usable)
            if not self._usable:
                raise LaneEnded(f"no lane is left: {self._why_ended}")
            self._held[holder] = min(self._free())
            return self._held[holder]

    def lane_of(self, holder: str) -> int | None:
        """Return the lane that `holder` has, if any."""
        return self._held.get(holder)

    async def release(self, holder: str) -> None:
        """Give a lane back; a holder without a lane is no error, because several may clean up after one trial."""
        async with self._changed:
            self._held.pop(holder, None)
            self._changed.notify_all()

    async def withdraw(self, lane: int, why: str) -> None:
        """Take a lane that has ended out of use."""
        async with self._changed:
            self._usable.discard(lane)
            self._why_ended = why
            self._changed.notify_all()
