"""Leases and mailboxes together, without Ray."""

import asyncio

from mdr_tune.lanes.hub import LaneHub, Outcome
from mdr_tune.lanes.messages import LOST_A_WORKER, CommandKind, Reply, WorkerProcess
from mdr_tune.lanes.system_metrics import Measurement
from tests.waiting import HANG_S

EPOCH: CommandKind = "epoch"


async def hub_of(num_lanes: int) -> LaneHub:
    """Return a hub with a worker in each lane, which takes commands and never replies."""
    hub = LaneHub(num_lanes, 1, stuck_worker_timeout_s=60.0, stalled_worker_timeout_s=60.0, max_restarts=2, node="here")
    for lane in range(num_lanes):
        await hub.join(lane, "group", 0, WorkerProcess())
    return hub


async def running(hub: LaneHub, holder: str) -> tuple[int, "asyncio.Task[Outcome]"]:
    """Lease a lane and have its workers at work; returns the lane and what will be the outcome."""
    kind, lane = await hub.lease(holder)
    assert kind == "ok"
    task = asyncio.create_task(hub.submit(holder, EPOCH, {}))
    await hub.next_command(lane, "group", 0)
    return lane, task


def test_a_lane_that_ends_in_the_middle_of_a_command_is_lost_to_its_trial_which_gets_another() -> None:
    async def scenario() -> None:
        hub = await hub_of(2)
        lane, outcome = await running(hub, "a")
        await hub.end_lane(lane, "Ray Train gave up")
        assert await outcome == ("lost", LOST_A_WORKER)
        assert await hub.submit("a", EPOCH, {}) == ("lost", LOST_A_WORKER)
        other, outcome = await running(hub, "a")
        assert other != lane
        await hub.post(other, "group", 0, 1, Reply(value=7))
        assert await outcome == ("ok", 7)
        assert await hub.take_news() == [f"lane {lane + 1} is given up: Ray Train gave up"]

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_the_last_report_on_progress_is_kept_until_it_is_taken() -> None:
    async def scenario() -> None:
        hub = await hub_of(1)
        await hub.report_progress("features of conv4", 64, 600)
        await hub.report_progress("features of conv4", 128, 600)
        assert await hub.take_progress() == ("features of conv4", 128, 600)
        assert await hub.take_progress() is None

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_the_last_lane_that_ends_ends_the_sweep() -> None:
    async def scenario() -> None:
        hub = await hub_of(2)
        await hub.end_lane(1, "the data is not there")
        lane, outcome = await running(hub, "a")
        await hub.end_lane(lane, "Ray Train gave up")
        assert await outcome == ("ended", "Ray Train gave up")
        assert await hub.lease("a") == ("ended", "no lane is left: Ray Train gave up")

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_a_lane_that_lost_workers_too_often_is_given_up() -> None:
    async def scenario() -> None:
        hub = await hub_of(1)
        assert [await hub.lose_workers(0) for _ in range(3)] == [False, False, True]
        assert await hub.take_news() == ["lane 1 is given up: it lost a worker 3 times (resources.lane_restarts)"]

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_a_command_that_a_stop_interrupts_is_not_sent_again() -> None:
    async def scenario() -> None:
        hub = await hub_of(2)
        _, outcome = await running(hub, "a")
        await hub.stop()
        assert await outcome == ("ended", "the sweep is over")

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_what_workers_measured_goes_with_the_trial_that_has_their_lane() -> None:
    async def scenario() -> None:
        hub = await hub_of(2)
        await hub.lease("a")
        for cpu in (10.0, 20.0):
            await hub.measured(0, 0, Measurement("here", {"cpu_utilization_percentage": cpu}, {}))
        assert await hub.take_measured() == [("a", {"cpu_utilization_percentage": 20.0}), (None, {})]
        assert await hub.take_measured() == [("a", {}), (None, {})]

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))
