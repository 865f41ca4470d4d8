"""The worker's pulse, with real threads."""

import threading

import pytest

from mdr_tune.lanes.heartbeat import Heartbeat
from tests.waiting import HANG_S


def test_it_beats_with_the_count_until_the_block_is_left() -> None:
    beats: list[int] = []
    enough = threading.Event()
    ended = threading.Event()

    def beat(count: int) -> bool:
        beats.append(count)
        if len(beats) == 3:
            enough.set()
        return True

    with Heartbeat(beat, lambda: 7, ended.set, every_s=0.005) as heartbeat:
        assert enough.wait(HANG_S)
    heartbeat._thread.join(HANG_S)
    assert not heartbeat._thread.is_alive()
    assert set(beats) == {7}
    assert not ended.is_set()


def test_a_worker_that_leaves_in_time_when_it_is_dismissed_is_not_ended() -> None:
    ended, dismissed = threading.Event(), threading.Event()

    def beat(count: int) -> bool:
        dismissed.set()
        return False

    with Heartbeat(beat, lambda: 0, ended.set, every_s=0.005, time_to_leave_s=60) as heartbeat:
        assert dismissed.wait(HANG_S)
    heartbeat._thread.join(HANG_S)
    assert not heartbeat._thread.is_alive()
    assert not ended.is_set()


def test_one_that_does_not_leave_is_ended() -> None:
    ended = threading.Event()
    with Heartbeat(lambda count: False, lambda: 0, ended.set, every_s=0.005, time_to_leave_s=0.05):
        assert ended.wait(HANG_S)


def test_a_hub_that_is_gone_ends_the_beating_and_not_the_process(capfd: pytest.CaptureFixture[str]) -> None:
    ended = threading.Event()

    def beat(count: int) -> bool:
        raise ConnectionError("the hub is gone")

    with Heartbeat(beat, lambda: 0, ended.set, every_s=0.005, time_to_leave_s=0.01) as heartbeat:
        heartbeat._thread.join(HANG_S)
        assert not heartbeat._thread.is_alive()
    assert not ended.is_set()
    assert "the hub is gone" in capfd.readouterr().err
