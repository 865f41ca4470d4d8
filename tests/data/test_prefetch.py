import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from mdr_tune.data.prefetch import prefetch
from tests.waiting import HANG_S, wait_for


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.enumerate()
    yield
    assert threading.enumerate() == before


class Recorder:
    """Squares numbers; knows what it was asked for and by which threads."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.read: list[int] = []
        self.threads: set[int] = set()
        self.fails_at = fails_at

    def __call__(self, item: int) -> int:
        self.read.append(item)
        self.threads.add(threading.get_ident())
        if item == self.fails_at:
            raise OSError(f"cannot read {item}")
        return item**2


@pytest.mark.parametrize("depth", [0, 1, 2, 5, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_order_each_item_read_once(depth: int, count: int) -> None:
    read = Recorder()
    assert list(prefetch(read, range(count), depth)) == [item**2 for item in range(count)]
    assert read.read == list(range(count))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_one_other_thread_reads(depth: int) -> None:
    read = Recorder()
    list(prefetch(read, range(20), depth))
    assert len(read.threads) == 1
    assert threading.get_ident() not in read.threads


def test_depth_zero_reads_in_this_thread_as_asked() -> None:
    read = Recorder()
    results = prefetch(read, range(3), depth=0)
    assert next(results) == 0
    assert read.read == [0]
    assert read.threads == {threading.get_ident()}
    results.close()


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_it_reads_ahead_as_far_as_depth_says(depth: int) -> None:
    read = Recorder()
    results = prefetch(read, itertools.count(), depth)
    for taken in range(1, 5):
        next(results)
        wait_for(lambda taken=taken: len(read.read) == taken + depth, every_s=0.001)
        time.sleep(0.01)  # it would have read another one by now
        assert len(read.read) == taken + depth
    results.close()


def test_reading_goes_on_while_the_caller_works() -> None:
    asked, answered = threading.Event(), threading.Event()

    def read(item: int) -> int:
        if item == 1:
            asked.set()
            assert answered.wait(HANG_S)
        return item

    results = prefetch(read, range(2), depth=1)
    assert next(results) == 0
    assert asked.wait(HANG_S)  # item 1 is being read, though nobody asked for it
    answered.set()
    assert next(results) == 1
    results.close()


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
def test_an_error_is_raised_in_its_place_and_ends_it(depth: int) -> None:
    read = Recorder(fails_at=3)
    results = prefetch(read, itertools.count(), depth)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(OSError, match="cannot read 3"):
        next(results)
    assert next(results, "at its end") == "at its end"
    assert len(read.read) <= 4 + depth


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_an_error_of_the_items_is_raised_too(depth: int) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(prefetch(Recorder(), items(), depth))


def test_an_error_in_the_loop_ends_the_thread_without_reading_on() -> None:
    read, started, may_end = [], threading.Event(), threading.Event()

    def slow_read(item: int) -> int:
        read.append(item)
        if item == 1:
            started.set()
            assert may_end.wait(HANG_S)
        return item

    def train() -> None:
        for _ in prefetch(slow_read, itertools.count(), depth=5):
            assert started.wait(HANG_S)
            threading.Timer(0.05, may_end.set).start()
            raise RuntimeError("diverged")

    with pytest.raises(RuntimeError, match="diverged"):
        train()
    assert read == [0, 1]  # 1 was under way and came to its end; 2 .. 5 were waiting


def test_one_that_was_never_asked_has_no_thread() -> None:
    read = Recorder()
    results = prefetch(read, range(5))
    time.sleep(0.01)
    assert read.read == []
    results.close()


def test_a_negative_depth_is_an_error() -> None:
    with pytest.raises(ValueError, match="depth must not be negative, got -1"):
        next(prefetch(len, [""], depth=-1))
