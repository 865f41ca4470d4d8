"""Who has which lane, without Ray."""

import asyncio

import pytest

from mdr_tune.lanes.leases import Leases
from mdr_tune.lanes.messages import LaneEnded


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
