"""A function applied to many items by threads: results in order, and no more of them in memory than asked for."""

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
    """Give an iterator over `function(item)`, in the order of the items.

    An exception of the function is raised in its place. When the block is left, early or not, what has not been
    begun is dropped, and the threads have ended; a Ctrl-C therefore waits for one item of each thread at most.

    Args:
        function: should release Python's lock for most of its time, as reading, hashing and decoding do.
        items: are taken from the calling thread.
        threads: None: `threads_to_start`.
        ahead: the most results that wait to be taken or are being computed. None: four a thread.
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
    """Counts what is done and passes it on: at once when it begins and ends, in between four times a second."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress, self._what, self._total = progress, what, total
        self._done = 0
        self._report()

    def advance(self, number: int = 1) -> None:
        """Count `number` more items as done."""
        self._done += number
        if self._done == self._total or time.monotonic() >= self._next_report_s:
            self._report()

    def _report(self) -> None:
        self._progress(self._what, self._done, self._total)
        self._next_report_s = time.monotonic() + _REPORT_EVERY_S
