"""Leases of lanes to trials. Plain asyncio, as the mailbox."""

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
    """Leases of `num_lanes` lanes. A *holder* is the name of the trial that has a lane.

    Only a lane that is *up* can be leased: all its workers are there. Trials wait in the order in which they asked. A
    trial that lost its lane goes before all others, and may get another lane than before, because a lane whose node is
    gone may never come back.

    A trial may have two actors for a while, of which the older one cleans up late. So each actor leases with a token of
    its own, and gives back only what was leased with that token. The driver gives back whatever a trial has.

    Args:
        num_lanes: Number of lanes; their indices count from 0.
    """

    def __init__(self, num_lanes: int) -> None:
        self._usable = set(range(num_lanes))
        self._up: set[int] = set()
        self._held: dict[str, _Held] = {}
        self._lost: set[str] = set()
        """Names of the trials whose lane went down, and that have not got another one yet."""
        self._waiting: list[_Waiting] = []
        self._changed = asyncio.Condition()
        self._why_ended = ""

    def _free(self) -> set[int]:
        return self._up - {held.lane for held in self._held.values()}

    def _is_next(self, me: _Waiting) -> bool:
        first = [waiting for waiting in self._waiting if waiting.goes_first]
        return me in [*first, *(waiting for waiting in self._waiting if not waiting.goes_first)][: len(self._free())]

    async def lease(self, holder: str, token: str = "") -> int:
        """Lease a lane to `holder` and return its index, waiting for a free lane if need be.

        A holder that has a lane already gets the same one, and `token` becomes the token of its lease.

        Args:
            holder: Name of the trial.
            token: Token of the actor that asks.

        Raises:
            LaneEnded: No lane is left to wait for.
            LaneLost: `release` was called while the holder waited: its trial ended, and nobody will use the lane.
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
                if holder in self._held:  # an older actor of the trial, which is gone, waited too and got it
                    self._held[holder].token = token
                    return self._held[holder].lane
                self._lost.discard(holder)
                self._held[holder] = _Held(min(self._free()), token)
                return self._held[holder].lane
            finally:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(me)

    def lane_of(self, holder: str) -> int | None:
        """Return the index of the lane that `holder` has; None if it has none."""
        held = self._held.get(holder)
        return None if held is None else held.lane

    @property
    def any_usable(self) -> bool:
        """Whether there is a lane that has not ended."""
        return bool(self._usable)

    def has_lost(self, holder: str) -> bool:
        """Return whether the lane that `holder` had went down, and the holder has no other lane yet."""
        return holder in self._lost

    async def release(self, holder: str, token: str | None = None) -> None:
        """Give back the lane that a holder has, or end its wait for one.

        Often there is nothing to give back, because several processes clean up after a trial.

        Args:
            holder: Name of the trial.
            token: Token of the lease or wait to end; None ends either, whatever its token.
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
        """Note whether the workers of a lane are all there; if they are not, its holder loses the lane."""
        async with self._changed:
            if is_up and lane in self._usable:
                self._up.add(lane)
            else:
                self._go_down(lane)
            self._changed.notify_all()

    async def withdraw(self, lane: int, why: str) -> None:
        """Take a lane that has ended out of use for good; its holder loses it.

        Args:
            lane: Index of the lane.
            why: Why it ended; told to trials that wait if no lane is left.
        """
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
