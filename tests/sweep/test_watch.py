from mdr_tune.sweep.watch import LANES_SHOWN, NOTICE_EVERY_S, LaneNews

HERE, THERE = "10.0.0.1", "10.0.0.2"


def lane_news(num_lanes: int, awaited: str = "") -> LaneNews:
    return LaneNews(num_lanes, lambda: awaited)


def test_lanes_that_come_up_go_and_come_back() -> None:
    news = lane_news(2)
    up, down = [HERE], list[str]()
    assert news.of([down, down], 0.0) is None
    assert news.of([up, down], 2.0) is None
    assert news.of([up, up], 4.0) == "the workers of 2 lanes are up"
    assert news.of([up, up], 6.0) is None
    lost = news.of([down, up], 8.0)
    assert lost is not None
    assert lost.startswith("a lane lost a worker")
    assert news.of([down, up], 10.0) is None
    assert news.of([up, up], 12.0) == "the workers of 2 lanes are up again"


def test_lanes_that_do_not_come_up_are_told_once_a_minute() -> None:
    news = lane_news(1, "the autoscaler starts 2 gpu_worker")
    lines = {now: news.of([[]], float(now)) for now in range(0, 200, 2)}
    told = [now for now, line in lines.items() if line is not None]
    assert told == [NOTICE_EVERY_S, 2 * NOTICE_EVERY_S, 3 * NOTICE_EVERY_S]
    assert lines[60] == "still waiting: 0 of 1 lane up; the autoscaler starts 2 gpu_worker"


def test_where_lanes_are_is_told_if_there_are_several_nodes() -> None:
    assert lane_news(2).of([[HERE, HERE], [HERE, THERE]], 0.0) == (
        "the workers of 2 lanes are up: lane 1 on 10.0.0.1 (2), lane 2 on 10.0.0.1 and 10.0.0.2"
    )
    many = LANES_SHOWN + 3
    told = lane_news(many).of([[f"10.0.0.{number}"] for number in range(many)], 0.0)
    assert told is not None
    assert told.endswith("lane 8 on 10.0.0.7, and 3 more")
