"""Lease lanes to trials, so that each lane trains one trial at a time. This module needs only asyncio, not Ray."""

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
    """Keeps track of which trial has which of `num_lanes` lanes, and lets trials wait for a free one.

    Lanes are given by their indices, from 0, and trials by their names. The trial that has a lane is its *holder*. A
    lane can be leased while it is *up*: all its workers have joined. Trials get lanes in the order in which they asked.
    A trial that lost its lane goes before all others. It may get a different lane, because a lane whose node is gone
    may never come back.

    For a while, a trial may have two actors, because the older one cleans up late. So each actor leases with a token of
    its own, and can give back only a lane that was leased with this token. The driver gives back a trial's lane without
    a token.
    """

    def __init__(self, num_lanes: int) -> None:
        self._usable = set(range(num_lanes))
        self._up: set[int] = set()
        self._held: dict[str, _Held] = {}
        self._lost: set[str] = set()
        """Names of the trials that lost their lane and have no other lane yet."""
        self._waiting: list[_Waiting] = []
        self._changed = asyncio.Condition()
        self._why_ended = ""

    def _free(self) -> set[int]:
        return self._up - {held.lane for held in self._held.values()}

    def _is_next(self, me: _Waiting) -> bool:
        first = [waiting for waiting in self._waiting if waiting.goes_first]
        return me in [*first, *(waiting for waiting in self._waiting if not waiting.goes_first)][: len(self._free())]

    async def lease(self, holder: str, token: str = "") -> int:
        """Lease a lane to the trial `holder` and return the lane's index. Wait if no lane is free.

        `token` identifies the actor that calls. A trial that has a lane already keeps it, and its lease gets the new
        token.

        Raises:
            LaneEnded: All lanes have ended. The text says why the last of them ended.
            LaneLost: `release` was called while the trial waited, because the trial ended and needs no lane.
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
        """Return the index of the lane that the trial `holder` has; None if it has none."""
        held = self._held.get(holder)
        return None if held is None else held.lane

    def holder_of(self, lane: int) -> str | None:
        """Return the name of the trial that has `lane`; None if the lane is free."""
        return next((holder for holder, held in self._held.items() if held.lane == lane), None)

    @property
    def any_usable(self) -> bool:
        """Whether at least one lane has not ended."""
        return bool(self._usable)

    def has_lost(self, holder: str) -> bool:
        """Return whether the trial `holder` lost its lane and has no other lane yet."""
        return holder in self._lost

    async def release(self, holder: str, token: str | None = None) -> None:
        """Give back the lane of the trial `holder`, or end the trial's wait for a lane.

        This is done only if `lease` was called with the same `token`; None stands for any token. Nothing happens if the
        trial neither has a lane nor waits for one: several processes may clean up after a trial.
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
        """Record whether all workers of `lane` are there (`is_up`). If not, the trial that has the lane loses it."""
        async with self._changed:
            if is_up and lane in self._usable:
                self._up.add(lane)
            else:
                self._go_down(lane)
            self._changed.notify_all()

    async def withdraw(self, lane: int, why: str) -> None:
        """Stop leasing `lane`, which has ended for the reason `why`. The trial that has the lane loses it."""
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
