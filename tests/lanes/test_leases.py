"""Who has which lane, without Ray."""

import asyncio

import pytest

from mdr_tune.lanes.leases import Leases
from mdr_tune.lanes.messages import LaneEnded, LaneLost
from tests.waiting import HANG_S


async def all_up(num_lanes: int) -> Leases:
    leases = Leases(num_lanes)
    for lane in range(num_lanes):
        await leases.set_up(lane, True)
    return leases


async def a_moment() -> None:
    await asyncio.sleep(0.01)


def test_each_lane_has_one_holder_and_a_lease_is_kept() -> None:
    async def scenario() -> None:
        leases = await all_up(2)
        assert [await leases.lease("a"), await leases.lease("b"), await leases.lease("a")] == [0, 1, 0]
        waiting = asyncio.create_task(leases.lease("c"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await leases.release("b")
        assert await waiting == 1
        assert leases.lane_of("b") is None

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_releasing_twice_or_without_a_lease_is_no_error() -> None:
    async def scenario() -> None:
        leases = await all_up(1)
        await leases.release("nobody")
        await leases.lease("a")
        await leases.release("a")
        await leases.release("a")
        assert await leases.lease("b") == 0

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_a_withdrawn_lane_is_not_leased_again() -> None:
    async def scenario() -> None:
        leases = await all_up(2)
        assert await leases.lease("a") == 0
        await leases.withdraw(0, "gone")
        assert await leases.lease("a") == 1
        waiting = asyncio.create_task(leases.lease("b"))
        await asyncio.sleep(0.01)
        await leases.withdraw(1, "gone too")
        with pytest.raises(LaneEnded, match="gone too"):
            await waiting

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_an_older_actor_of_a_trial_cannot_give_back_what_the_newer_one_has() -> None:
    async def scenario() -> None:
        leases = await all_up(1)
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

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_a_trial_that_ended_while_it_waited_gets_no_lane() -> None:
    async def scenario() -> None:
        leases = await all_up(1)
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

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_a_lane_is_leased_once_it_is_up() -> None:
    async def scenario() -> None:
        leases = Leases(2)
        waiting = asyncio.create_task(leases.lease("a"))
        await a_moment()
        assert not waiting.done()
        await leases.set_up(1, True)
        assert await waiting == 1

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_who_waits_is_served_in_order() -> None:
    async def scenario() -> None:
        leases = Leases(3)
        order: list[str] = []

        async def lease(name: str) -> None:
            await leases.lease(name)
            order.append(name)

        waiting = [asyncio.create_task(lease(name)) for name in "abc"]
        await a_moment()
        for lane in (2, 0, 1):
            await leases.set_up(lane, True)
            await a_moment()
        assert order == ["a", "b", "c"]
        await asyncio.gather(*waiting)

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_who_lost_a_lane_gets_the_next_that_is_free_before_all_others() -> None:
    async def scenario() -> None:
        leases = await all_up(2)
        assert [await leases.lease("lost"), await leases.lease("other")] == [0, 1]
        new = asyncio.create_task(leases.lease("new"))
        await a_moment()
        await leases.set_up(0, False)
        assert leases.lane_of("lost") is None
        assert leases.has_lost("lost")
        again = asyncio.create_task(leases.lease("lost"))
        await a_moment()
        await leases.release("other")
        assert await again == 1
        assert not leases.has_lost("lost")
        await a_moment()
        assert not new.done()
        await leases.set_up(0, True)
        assert await new == 0

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_a_trial_that_ended_after_it_lost_its_lane_is_forgotten() -> None:
    async def scenario() -> None:
        leases = await all_up(1)
        await leases.lease("a")
        await leases.set_up(0, False)
        await leases.release("a")
        assert not leases.has_lost("a")

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_a_newer_actor_takes_over_what_the_older_one_waited_for() -> None:
    async def scenario() -> None:
        leases = Leases(2)
        older = asyncio.create_task(leases.lease("a", "older"))
        await a_moment()
        newer = asyncio.create_task(leases.lease("a", "newer"))
        await a_moment()
        await leases.set_up(0, True)
        assert [await older, await newer] == [0, 0]
        await leases.release("a", "older")
        assert leases.lane_of("a") == 0
        await leases.set_up(1, True)
        assert await leases.lease("b") == 1

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_a_lane_that_was_withdrawn_does_not_come_up_again() -> None:
    async def scenario() -> None:
        leases = await all_up(2)
        await leases.withdraw(0, "gone")
        await leases.set_up(0, True)
        assert await leases.lease("a") == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(leases.lease("b"), 0.05)

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))
