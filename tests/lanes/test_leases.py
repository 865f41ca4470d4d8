"""Who has which lane, without Ray."""

import asyncio

import pytest

from mdr_tune.lanes.leases import Leases
from mdr_tune.lanes.messages import LaneEnded, LaneLost


def test_each_lane_has_one_holder_and_a_lease_is_kept() -> None:
    async def scenario() -> None:
        leases = Leases(2)
        assert [await leases.lease("a"), await leases.lease("b"), await leases.lease("a")] == [0, 1, 0]
        waiting = asyncio.create_task(leases.lease("c"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await leases.release("b")
        assert await waiting == 1
        assert leases.lane_of("b") is None

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_releasing_twice_or_without_a_lease_is_no_error() -> None:
    async def scenario() -> None:
        leases = Leases(1)
        await leases.release("nobody")
        await leases.lease("a")
        await leases.release("a")
        await leases.release("a")
        assert await leases.lease("b") == 0

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_withdrawn_lane_is_not_leased_again() -> None:
    async def scenario() -> None:
        leases = Leases(2)
        assert await leases.lease("a") == 0
        await leases.withdraw(0, "gone")
        assert await leases.lease("a") == 1
        waiting = asyncio.create_task(leases.lease("b"))
        await asyncio.sleep(0.01)
        await leases.withdraw(1, "gone too")
        with pytest.raises(LaneEnded, match="gone too"):
            await waiting

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_an_older_actor_of_a_trial_cannot_give_back_what_the_newer_one_has() -> None:
    async def scenario() -> None:
        leases = Leases(1)
        await leases.lease("a", "older")
        await leases.release("a")  # by the driver, when the trial paused
        await leases.lease("a", "newer")
        await leases.release("a", "older")
        assert leases.lane_of("a") == 0
        assert await leases.lease("a", "newest") == 0  # an actor that died without giving it back
        await leases.release("a", "newer")
        assert leases.lane_of("a") == 0
        await leases.release("a", "newest")
        assert leases.lane_of("a") is None

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_trial_that_ended_while_it_waited_gets_no_lane() -> None:
    async def scenario() -> None:
        leases = Leases(1)
        await leases.lease("a")
        gone, next_one = (asyncio.create_task(leases.lease(name, "token")) for name in ("gone", "next"))
        await asyncio.sleep(0.01)
        await leases.release("gone", "another token")
        await asyncio.sleep(0.01)
        assert not gone.done()
        await leases.release("gone")
        with pytest.raises(LaneLost, match="given back"):
            await gone
        await leases.release("a")
        assert await next_one == 0

    asyncio.run(asyncio.wait_for(scenario(), 10))
