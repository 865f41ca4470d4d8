"""Which trial has which lane. Plain asyncio, as the mailbox."""

import asyncio
import contextlib
from dataclasses import dataclass

from mdr_tune.lanes.messages import LaneEnded, LaneLost


@dataclass
class _Held:
    lane: int
    token: str


@dataclass(eq=False)
class _Waiting:
    holder: str
    token: str
    goes_first: bool


class Leases:
    """Leases of `num_lanes` lanes, by the name of the trial that holds them.

    Only a lane that is up can be leased, to those that wait in their order, first of all to trials that lost one: a
    lane whose node is gone may never come back, and nobody waits for it while another is free.

    A trial may have had two actors, of which the older one cleans up late: each gives its own token with its lease, and
    can give back that lease only. The driver gives back whatever a trial has.
    """

    def __init__(self, num_lanes: int) -> None:
        self._usable = set(range(num_lanes))
        self._up: set[int] = set()
        self._held: dict[str, _Held] = {}
        self._lost: set[str] = set()
        """Who had a lane that went down, and has no other yet."""
        self._waiting: list[_Waiting] = []
        self._changed = asyncio.Condition()
        self._why_ended = ""

    def _free(self) -> set[int]:
        return self._up - {held.lane for held in self._held.values()}

    def _is_next(self, me: _Waiting) -> bool:
        first = [waiting for waiting in self._waiting if waiting.goes_first]
        return me in [*first, *(waiting for waiting in self._waiting if not waiting.goes_first)][: len(self._free())]

    async def lease(self, holder: str, token: str = "") -> int:
        """Return a lane for `holder`, waiting for one if need be; the same lane if it holds one already.

        Raises:
            LaneEnded: No lane is left to wait for.
            LaneLost: The lease was given back while it was waited for: its trial ended, and nobody will use the lane.
        """
        async with self._changed:
            if holder in self._held:
                self._held[holder].token = token
                return self._held[holder].lane
            me = _Waiting(holder, token, goes_first=holder in self._lost)
            self._waiting.append(me)
            try:
                await self._changed.wait_for(
                    lambda: self._is_next(me) or not self._usable or me not in self._waiting or holder in self._held
                )
                if me not in self._waiting:
                    raise LaneLost("was given back while the trial waited for it")
                if not self._usable:
                    raise LaneEnded(f"no lane is left: {self._why_ended}")
                if holder in self._held:  # by an older actor of the trial, that is gone
                    self._held[holder].token = token
                    return self._held[holder].lane
                self._lost.discard(holder)
                self._held[holder] = _Held(min(self._free()), token)
                return self._held[holder].lane
            finally:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(me)

    def lane_of(self, holder: str) -> int | None:
        """Return the lane that `holder` has, if any."""
        held = self._held.get(holder)
        return None if held is None else held.lane

    @property
    def any_usable(self) -> bool:
        """Whether a lane is left that has not ended."""
        return bool(self._usable)

    def has_lost(self, holder: str) -> bool:
        """Say whether the lane that `holder` had went down, and it has no other yet."""
        return holder in self._lost

    async def release(self, holder: str, token: str | None = None) -> None:
        """Give back what a holder has or waits for; that is nothing, often, because several clean up after one trial.

        Args:
            holder: The trial.
            token: Give back only what was leased with it; None is whatever there is.
        """
        async with self._changed:
            self._waiting = [w for w in self._waiting if w.holder != holder or token not in (None, w.token)]
            held = self._held.get(holder)
            if held is not None and token in (None, held.token):
                del self._held[holder]
            if held is None:
                self._lost.discard(holder)
            self._changed.notify_all()

    async def set_up(self, lane: int, is_up: bool) -> None:
        """Take note that the workers of a lane are all there, or are not: then who holds it loses it."""
        async with self._changed:
            if is_up and lane in self._usable:
                self._up.add(lane)
            else:
                self._go_down(lane)
            self._changed.notify_all()

    async def withdraw(self, lane: int, why: str) -> None:
        """Take a lane that has ended out of use."""
        async with self._changed:
            if lane in self._usable:
                self._usable.remove(lane)
                self._why_ended = why
            self._go_down(lane)
            self._changed.notify_all()

    def _go_down(self, lane: int) -> None:
        self._up.discard(lane)
        holders = [holder for holder, held in self._held.items() if held.lane == lane]
        for holder in holders:
            del self._held[holder]
        self._lost.update(holders)
