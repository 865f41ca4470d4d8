"""The mailbox by itself, without Ray: commands in, replies out, and what happens when workers fail or go away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mdr_tune.lanes.mailbox import Mailbox
from mdr_tune.lanes.messages import (
    DeviceLost,
    Failure,
    LaneEnded,
    LaneLost,
    Reply,
    TrialFailed,
    TrialFailedDiverging,
    WorkerProcess,
)
from tests.waiting import HANG_S

STUCK_TIMEOUT_S = 0.5
STALLED_TIMEOUT_S = 60.0


async def join_all(mailbox: Mailbox, group: str) -> int:
    return [await mailbox.join(group, rank) for rank in range(mailbox.world_size)][-1]


async def worker(mailbox: Mailbox, group: str, rank: int, answer: Callable[[Any], Reply | None]) -> str:
    """Take commands until told to leave; `answer` returning None stands for a worker that hangs or is gone."""
    last = await mailbox.join(group, rank)
    while True:
        command = await mailbox.next_command(group, last)
        if command.kind in ("stop", "abort"):
            return command.kind
        last = command.number
        reply = answer(command)
        if reply is not None:
            await mailbox.post(group, rank, last, reply)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), timeout=HANG_S))


def test_submit_returns_the_value_of_rank_0_after_all_replied() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(3, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        await join_all(mailbox, "a")
        answer = asyncio.create_task(mailbox.submit("epoch", {"x": 1}))
        commands = [await mailbox.next_command("a", 0) for _ in range(3)]
        assert {(c.kind, c.payload["x"], c.number) for c in commands} == {("epoch", 1, 1)}
        for rank in (2, 0):
            await mailbox.post("a", rank, 1, Reply(value=f"from {rank}"))
        await asyncio.sleep(0)
        assert not answer.done()
        await mailbox.post("a", 1, 1, Reply(value="from 1"))
        assert await answer == "from 0"

    run(scenario)


def test_submit_waits_for_the_workers_to_join() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(2, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        answer = asyncio.create_task(mailbox.submit("epoch", {}))
        workers = [asyncio.create_task(worker(mailbox, "a", r, lambda c: Reply(value=c.kind))) for r in range(2)]
        assert await answer == "epoch"
        await mailbox.stop()
        assert [await w for w in workers] == ["stop", "stop"]

    run(scenario)


def test_an_exception_on_all_ranks_fails_the_trial_and_keeps_the_group() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(2, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        replies = iter([Reply(failure=Failure("boom"))] * 2 + [Reply(value="fine")] * 2)
        seen = []

        def answer(command: Any) -> Reply:
            seen.append((command.number, command.renew_group))
            return next(replies)

        workers = [asyncio.create_task(worker(mailbox, "a", r, answer)) for r in range(2)]
        with pytest.raises(TrialFailed, match="boom"):
            await mailbox.submit("epoch", {})
        assert await mailbox.submit("start", {}) == "fine"
        assert seen == [(1, False), (1, False), (2, True), (2, True)]  # a fresh process group after the failure
        await mailbox.stop()
        assert [await w for w in workers] == ["stop", "stop"]

    run(scenario)


def test_a_silent_peer_of_a_failed_rank_costs_the_group_but_the_traceback_arrives() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(2, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        failing = asyncio.create_task(worker(mailbox, "a", 0, lambda c: Reply(failure=Failure("out of memory"))))
        hanging = asyncio.create_task(worker(mailbox, "a", 1, lambda c: None))
        with pytest.raises(TrialFailed, match="out of memory"):
            await mailbox.submit("epoch", {})
        assert await failing == "abort"
        assert await hanging == "abort"
        assert not mailbox.ready
        await join_all(mailbox, "b")
        assert mailbox.ready

    run(scenario)


def test_a_lost_peer_is_no_failure_of_the_trial() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(2, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        survivor = asyncio.create_task(
            worker(
                mailbox,
                "a",
                0,
                lambda c: Reply(failure=Failure("Connection closed by peer", "peer_lost", ends_group=True)),
            )
        )
        await mailbox.join("a", 1)
        with pytest.raises(LaneLost):
            await mailbox.submit("epoch", {})
        assert await survivor == "abort"

    run(scenario)


def test_a_new_group_ends_what_the_old_one_was_doing_and_old_replies_are_dropped() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(1, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        await mailbox.join("a", 0)
        answer = asyncio.create_task(mailbox.submit("epoch", {}))
        command = await mailbox.next_command("a", 0)
        after = await mailbox.join("b", 0)
        with pytest.raises(LaneLost):
            await answer
        assert (await mailbox.next_command("a", command.number)).kind == "abort"
        again = asyncio.create_task(mailbox.submit("epoch", {}))
        number = (await mailbox.next_command("b", after)).number
        await mailbox.post("a", 0, number, Reply(value="a ghost"))
        await mailbox.post("b", 0, number, Reply(value="alive"))
        assert await again == "alive"

    run(scenario)


def test_a_second_command_waits_for_the_first() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(1, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        await mailbox.join("a", 0)
        first = asyncio.create_task(mailbox.submit("epoch", {}))
        assert (await mailbox.next_command("a", 0)).number == 1
        second = asyncio.create_task(mailbox.submit("start", {}))
        await asyncio.sleep(0.01)
        assert not second.done()
        await mailbox.post("a", 0, 1, Reply(value=1))
        assert await first == 1
        assert (await mailbox.next_command("a", 1)).kind == "start"
        await mailbox.post("a", 0, 2, Reply(value=2))
        assert await second == 2

    run(scenario)


def test_the_end_of_the_lane_answers_everybody() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(1, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        waiting = asyncio.create_task(mailbox.submit("epoch", {}))
        await asyncio.sleep(0.01)
        await mailbox.end("Ray Train gave up")
        with pytest.raises(LaneEnded, match="gave up"):
            await waiting
        with pytest.raises(LaneEnded):
            await mailbox.submit("epoch", {})

    run(scenario)


def test_of_a_trial_that_diverged_the_reason_is_the_answer() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(2, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        reply = Reply(failure=Failure("the loss is not finite in epoch 1, step 2", "diverged"))
        workers = [asyncio.create_task(worker(mailbox, "a", rank, lambda c: reply)) for rank in range(2)]
        with pytest.raises(TrialFailedDiverging, match=r"^the loss is not finite in epoch 1, step 2$"):
            await mailbox.submit("epoch", {})
        assert mailbox.ready
        await mailbox.stop()
        assert [await w for w in workers] == ["stop", "stop"]

    run(scenario)


@pytest.mark.parametrize("kind", ["start", "epoch", "test"])
def test_workers_that_make_no_step_for_too_long_are_dismissed_and_ended(kind: Any) -> None:
    async def scenario() -> None:
        ended: list[WorkerProcess] = []
        told: list[str] = []
        mailbox = Mailbox(2, 60.0, 1.0, ended.extend, told.append)
        processes = [WorkerProcess(100 + rank, "node", "1") for rank in range(2)]
        for rank in range(2):
            await mailbox.join("a", rank, processes[rank])
        answer = asyncio.create_task(mailbox.submit(kind, {}))
        for count in range(15):  # as long as one rank gets on, nothing happens
            await asyncio.sleep(0.1)
            assert [await mailbox.beat("a", rank, count * rank) for rank in range(2)] == [True, True]
        assert not answer.done()
        with pytest.raises(LaneLost, match=r"^made no step for 1 s$"):
            await answer
        assert not await mailbox.beat("a", 0, 16)
        assert ended == processes
        assert told == [
            "the workers of a lane made no step for 1 s: the lane is restarted, its trial goes on from its last "
            "checkpoint"
        ]
        assert not mailbox.ready

    run(scenario)


def test_a_trial_that_diverged_leaves_the_process_group_as_it_is() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(2, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        replies = iter([Reply(failure=Failure("the loss is not finite", "diverged"))] * 2 + [Reply(value="fine")] * 2)
        renewed = []

        def answer(command: Any) -> Reply:
            renewed.append(command.renew_group)
            return next(replies)

        workers = [asyncio.create_task(worker(mailbox, "a", r, answer)) for r in range(2)]
        with pytest.raises(TrialFailedDiverging):
            await mailbox.submit("epoch", {})
        assert await mailbox.submit("start", {}) == "fine"
        assert renewed == [False] * 4
        await mailbox.stop()
        await asyncio.gather(*workers)

    run(scenario)


def test_a_failed_trial_whose_workers_cannot_go_on_costs_the_group_but_no_restart() -> None:
    """Several ranks on GPUs, which NCCL does not let pass a collective that one of them is not in."""

    async def scenario() -> None:
        mailbox = Mailbox(2, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        reply = Reply(failure=Failure("out of memory", ends_group=True))
        workers = [asyncio.create_task(worker(mailbox, "a", rank, lambda c: reply)) for rank in range(2)]
        with pytest.raises(TrialFailed, match="out of memory"):
            await mailbox.submit("epoch", {})
        assert [await w for w in workers] == ["abort", "abort"]
        await mailbox.lose_workers()
        assert mailbox.times_lost == 0
        await join_all(mailbox, "b")
        await mailbox.lose_workers()
        assert mailbox.times_lost == 1

    run(scenario)


def test_a_lost_device_is_told_at_once_and_costs_the_group() -> None:
    """Its worker has left, and the other waits for it in a collective."""

    async def scenario() -> None:
        ended: list[WorkerProcess] = []
        mailbox = Mailbox(2, HANG_S, HANG_S, ended.extend)
        for rank in range(2):
            await mailbox.join("a", rank, WorkerProcess(100 + rank, "node", "1"))
        answer = asyncio.create_task(mailbox.submit("epoch", {}))
        assert (await mailbox.next_command("a", 0)).kind == "epoch"
        await mailbox.post(
            "a", 1, 1, Reply(failure=Failure("an assertion in a kernel", "device_lost", ends_group=True))
        )
        with pytest.raises(DeviceLost, match=r"^an assertion in a kernel$"):
            await answer
        assert not mailbox.ready
        assert [process.pid for process in ended] == [100]
        await mailbox.lose_workers()
        assert mailbox.times_lost == 0
        await mailbox.stop()

    run(scenario)


@pytest.mark.parametrize("first", [0, 1])
def test_of_several_failures_the_one_that_others_may_follow_from_is_told(first: int) -> None:
    failures = [Failure("Connection closed by peer", "peer_lost", ends_group=True), Failure("out of memory")]

    async def scenario() -> None:
        mailbox = Mailbox(2, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        await join_all(mailbox, "a")
        answer = asyncio.create_task(mailbox.submit("epoch", {}))
        await mailbox.next_command("a", 0)
        for rank in (first, 1 - first):
            await mailbox.post("a", rank, 1, Reply(failure=failures[rank]))
        with pytest.raises(TrialFailed, match=r"^out of memory$"):
            await answer

    run(scenario)


def test_of_a_group_that_one_rank_failed_only_the_silent_ones_are_ended() -> None:
    async def scenario() -> None:
        ended: list[WorkerProcess] = []
        mailbox = Mailbox(3, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S, ended.extend)
        processes = [WorkerProcess(100 + rank, "node", "1") for rank in range(3)]
        for rank in range(3):
            await mailbox.join("a", rank, processes[rank])
        answer = asyncio.create_task(mailbox.submit("epoch", {}))
        assert (await mailbox.next_command("a", 0)).kind == "epoch"
        await mailbox.post("a", 1, 1, Reply(failure=Failure("out of memory")))
        with pytest.raises(TrialFailed, match="out of memory"):
            await answer
        assert ended == [processes[0], processes[2]]

    run(scenario)


def test_workers_that_ray_train_found_gone_are_lost_before_new_ones_come() -> None:
    """A lane whose node is gone may wait for a new one for hours; its trial learns of it at once."""

    async def scenario() -> None:
        told: list[bool] = []

        async def tell_ready(ready: bool) -> None:
            told.append(ready)

        mailbox = Mailbox(2, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S, tell_ready=tell_ready)
        await join_all(mailbox, "a")
        answer = asyncio.create_task(mailbox.submit("epoch", {}))
        await asyncio.sleep(0.01)
        await mailbox.lose_workers()
        with pytest.raises(LaneLost, match="lost a worker"):
            await answer
        assert not mailbox.ready
        assert (await mailbox.next_command("a", 0)).kind == "abort"
        await mailbox.lose_workers()  # of the same group: nothing new
        await join_all(mailbox, "b")
        assert mailbox.ready
        assert told == [False, True, False, False, True]

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_a_command_whose_sender_lost_the_lane_is_not_run_on_the_new_workers() -> None:
    async def scenario() -> None:
        has_lane = True
        mailbox = Mailbox(1, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        answer = asyncio.create_task(mailbox.submit("epoch", {}, is_wanted=lambda: has_lane))
        await asyncio.sleep(0.01)
        has_lane = False
        last = await mailbox.join("a", 0)
        with pytest.raises(LaneLost, match="lost a worker"):
            await answer
        next_command = asyncio.create_task(mailbox.next_command("a", last))
        await asyncio.sleep(0.01)
        assert not next_command.done()
        next_command.cancel()

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_why_a_lane_ended_is_what_was_said_first() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(1, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        await mailbox.end("the data set is not there")
        await mailbox.end("Training failed")
        with pytest.raises(LaneEnded, match="the data set is not there"):
            await mailbox.submit("epoch", {})

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))


def test_the_nodes_of_a_lane() -> None:
    async def scenario() -> None:
        mailbox = Mailbox(2, STUCK_TIMEOUT_S, STALLED_TIMEOUT_S)
        await mailbox.join("a", 1, WorkerProcess(address="10.0.0.2"))
        assert mailbox.places == []
        await mailbox.join("a", 0, WorkerProcess(address="10.0.0.1"))
        assert mailbox.places == ["10.0.0.1", "10.0.0.2"]

    asyncio.run(asyncio.wait_for(scenario(), HANG_S))
