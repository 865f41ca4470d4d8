"""When workers have stalled."""

from mdr_tune.lanes.stall_watch import StallWatch


def test_a_watch_stalls_when_no_rank_has_moved_for_the_limit() -> None:
    watch = StallWatch(10.0, now=100.0)
    watch.beat(0, 5, 105.0)
    watch.beat(1, 5, 106.0)
    watch.beat(0, 5, 115.0)  # as before
    assert not watch.has_stalled(116.0)
    assert watch.has_stalled(116.1)
    watch.beat(1, 3, 117.0)  # another session counts from 0 again: that is progress
    assert not watch.has_stalled(127.0)


def test_without_any_beat_the_command_itself_is_the_start() -> None:
    assert StallWatch(10.0, now=0.0).has_stalled(10.5)
    assert not StallWatch(10.0, now=0.0).has_stalled(10.0)
