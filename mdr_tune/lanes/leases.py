"""Which trial has which lane. Plain asyncio, as the mailbox."""

import asyncio
from dataclasses import dataclass

from mdr_tune.lanes.messages import LaneEnded, LaneLost


@dataclass
class _Held:
    lane: int
    token: str


class Leases:
    """Leases of `num_lanes` lanes, by the name of the trial that holds them.

    A trial may have had two actors, of which the older one cleans up late: each gives its own token with its lease, and
    can give back that lease only. The driver gives back whatever a trial has.
    """

    def __init__(self, num_lanes: int) -> None:
        self._usable = set(range(num_lanes))
        self._held: dict[str, _Held] = {}
        self._waiting: set[tuple[str, str, object]] = set()
        self._changed = asyncio.Condition()
        self._why_ended = ""

    def _free(self) -> set[int]:
        return self._usable - {held.lane for held in self._held.values()}

    async def lease(self, holder: str, token: str = "") -> int:
        """Return a lane for `holder`, waiting for one if need be; the same lane if it holds one already.

        Raises:
            LaneEnded: No lane is left to wait for.
            LaneLost: The lease was given back while it was waited for: its trial ended, and nobody will use the lane.
        """
        async with self._changed:
            if holder in self._held and self._held[holder].lane in self._usable:
                self._held[holder].token = token
                return self._held[holder].lane
            me = (holder, token, object())
            self._waiting.add(me)
            try:
                await self._changed.wait_for(lambda: bool(self._free()) or not self._usable or me not in self._waiting)
                if me not in self._waiting:
                    raise LaneLost("was given back while the trial waited for it")
                if not self._usable:
                    raise LaneEnded(f"no lane is left: {self._why_ended}")
                self._held[holder] = _Held(min(self._free()), token)
                return self._held[holder].lane
            finally:
                self._waiting.discard(me)

    def lane_of(self, holder: str) -> int | None:
        """Return the lane that `holder` has, if any."""
        held = self._held.get(holder)
        return None if held is None else held.lane

    async def release(self, holder: str, token: str | None = None) -> None:
        """Give back what a holder has or waits for; that is nothing, often, because several clean up after one trial.

        Args:
            holder: The trial.
            token: Give back only what was leased with it; None is whatever there is.
        """
        async with self._changed:
            self._waiting = {w for w in self._waiting if w[0] != holder or token not in (None, w[1])}
            held = self._held.get(holder)
            if held is not None and token in (None, held.token):
                del self._held[holder]
            self._changed.notify_all()

    async def withdraw(self, lane: int, why: str) -> None:
        """Take a lane that has ended out of use."""
        async with self._changed:
            self._usable.discard(lane)
            self._why_ended = why
            self._changed.notify_all()
