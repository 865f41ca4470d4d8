"""Apply a function to many items on threads: results come in order, and only a limited number wait in memory."""

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
    """Yield an iterator over `function(item)`, in the order of the items, for the `with` block.

    An exception of `function` is raised in place of the result. Leaving the block, early or not, drops the items that
    have not been begun and waits until the threads have ended. So a Ctrl-C waits for one item of each thread at most.

    Args:
        function: function to apply; it should release Python's lock most of the time, as reading, hashing and decoding
            do.
        items: items to apply it to; the calling thread iterates over them.
        threads: number of threads; None for `threads_to_start()`.
        ahead: largest number of results that wait to be taken or are being computed; None for four times the threads.
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
    """Counts finished items and reports them: at the beginning, at the end, and at most four times a second between.

    Args:
        progress: callback that gets the reports.
        what: what is being done, in words.
        total: number of items.
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
