"""Apply a function to many items on several threads. Results come in order, and few of them are in memory at once."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from mdr_tune.util.cpus import threads_to_start
from mdr_tune.util.progress import Progress

T = TypeVar("T")
R = TypeVar("R")

_REPORT_EVERY_S = 0.25


@contextmanager
def thread_map(
    function: Callable[[T], R], items: Iterable[T], *, threads: int | None = None, ahead: int | None = None
) -> Iterator[Iterator[R]]:
    """Apply `function` to `items` on several threads. The `with` block gets an iterator over the results, in order.

    If `function` raises an exception for an item, the iterator raises it in place of the result. When the block is
    left, even early, items that have not been started are dropped, and each thread finishes its current item first.

    Args:
        function: function that releases Python's global interpreter lock most of the time, such as decoding an image.
        items: items to apply `function` to. The calling thread iterates over them.
        threads: number of threads. None: `threads_to_start()`.
        ahead: largest number of items that are being computed, or whose results wait. None: four for each thread.
    """
    threads = threads or threads_to_start()
    pool = ThreadPoolExecutor(threads)

    def results() -> Iterator[R]:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= (ahead or 4 * threads):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield results()
    finally:
        pool.shutdown(cancel_futures=True)


class PacedProgress:
    """Counts items, and calls `progress(what, done, total)` at the start, at the end, and at most four times a second.

    `what` describes the work, such as "decoding images", and `total` is the number of items.
    """

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress, self._what, self._total = progress, what, total
        self._done = 0
        self._report()

    def advance(self, number: int = 1) -> None:
        """Count `number` more items as finished."""
        self._done += number
        if self._done == self._total or time.monotonic() >= self._next_report_s:
            self._report()

    def _report(self) -> None:
        self._progress(self._what, self._done, self._total)
        self._next_report_s = time.monotonic() + _REPORT_EVERY_S
