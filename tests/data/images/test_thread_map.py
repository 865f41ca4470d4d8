import threading
import time
from collections.abc import Iterator

import pytest

from mdr_tune.data.images.thread_map import PacedProgress, thread_map


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.01 if item < 4 else 0)
        return item * item

    with thread_map(slow_at_first, range(50), threads=4, ahead=16) as results:
        assert list(results) == [item * item for item in range(50)]


def test_no_items_give_no_results() -> None:
    with thread_map(abs, []) as results:
        assert list(results) == []


def test_no_more_is_taken_than_may_wait() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    with thread_map(abs, items(), threads=2, ahead=8) as results:
        for index, _ in enumerate(results):
            assert len(taken) <= index + 8
    assert len(taken) == 100


def test_an_error_is_raised_in_its_place_and_ends_the_threads() -> None:
    before = threading.active_count()
    seen = []

    def collect() -> None:
        with thread_map(lambda item: 1 / (5 - item), range(100), threads=3, ahead=50) as results:
            seen.extend(results)

    with pytest.raises(ZeroDivisionError):
        collect()
    assert len(seen) <= 5
    assert threading.active_count() == before


def test_leaving_early_drops_what_has_not_begun() -> None:
    before, begun = threading.active_count(), []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.05)
        return item

    with thread_map(work, range(1000), threads=2, ahead=500) as results:
        next(results)
    assert len(begun) < 1000
    assert threading.active_count() == before


def test_progress_is_told_four_times_a_second_at_most() -> None:
    calls: list[tuple[str, int, int]] = []
    start = time.monotonic()
    paced = PacedProgress(lambda *call: calls.append(call), "counting", 600)
    for _ in range(600):
        time.sleep(0.001)
        paced.advance()
    passed_s = time.monotonic() - start
    assert calls[0] == ("counting", 0, 600)
    assert calls[-1] == ("counting", 600, 600)
    assert 3 <= len(calls) <= 2 + passed_s / 0.25


def test_several_items_may_be_done_at_once() -> None:
    calls: list[tuple[str, int, int]] = []
    paced = PacedProgress(lambda *call: calls.append(call), "counting", 10)
    paced.advance(7)
    paced.advance(3)
    assert calls == [("counting", 0, 10), ("counting", 10, 10)]
