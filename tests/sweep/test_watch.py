from mdr_tune.sweep.watch import NOTICE_EVERY_S, LaneNews


def test_lanes_that_come_up_go_and_come_back() -> None:
    news = LaneNews(2)
    assert news.of(0, 0.0) is None
    assert news.of(1, 2.0) is None
    assert news.of(2, 4.0) == "the workers of 2 lanes are up"
    assert news.of(2, 6.0) is None
    lost = news.of(1, 8.0)
    assert lost is not None
    assert lost.startswith("a lane lost a worker")
    assert news.of(1, 10.0) is None
    assert news.of(2, 12.0) == "the workers of 2 lanes are up again"


def test_lanes_that_do_not_come_up_are_told_once_a_minute() -> None:
    news = LaneNews(1)
    lines = {now: news.of(0, float(now)) for now in range(0, 200, 2)}
    told = [now for now, line in lines.items() if line is not None]
    assert told == [NOTICE_EVERY_S, 2 * NOTICE_EVERY_S, 3 * NOTICE_EVERY_S]
    assert lines[60] == "still waiting: 0 of 1 lane up; are enough CPUs and GPUs free?"
