"""A thread that does the writes in order, so that a slow store does not hold up the search."""

import logging
import queue
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

FIRST_RETRY_S = 0.5
GIVE_UP_AFTER_S = 300.0


class TrackingLost(RuntimeError):  # noqa: N818
    """Some writes to the store failed for good; the text says which and why."""


class OrderedWriter:
    """Runs callables one after another on a thread, retrying each until it succeeds or `give_up_after_s` is over.

    After a write was given up, the next ones have one try each until one succeeds: a store that is gone for good costs
    `give_up_after_s` once, not once a write.

    Args:
        give_up_after_s: How long one write is retried before it is dropped and counted as lost.
    """

    def __init__(self, give_up_after_s: float = GIVE_UP_AFTER_S) -> None:
        self._give_up_after_s = give_up_after_s
        self._queue: queue.Queue[tuple[str, Callable[[], None]] | None] = queue.Queue()
        self._lost: list[str] = []
        self._store_is_gone = False
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def put(self, what: str, write: Callable[[], None]) -> None:
        """Queue a write; `what` names it should it fail."""
        self._queue.put((what, write))

    def close(self) -> None:
        """Wait for all writes.

        Raises:
            TrackingLost: Some were dropped.
        """
        self._queue.put(None)
        self._thread.join()
        if self._lost:
            raise TrackingLost(f"{len(self._lost)} writes to MLflow were lost: " + "; ".join(self._lost[:5]))

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            self._write(*item)

    def _write(self, what: str, write: Callable[[], None]) -> None:
        delay, started = FIRST_RETRY_S, time.monotonic()
        while True:
            try:
                write()
                self._store_is_gone = False
                return
            except Exception as error:
                if self._store_is_gone or time.monotonic() - started > self._give_up_after_s:
                    self._store_is_gone = True
                    logger.error("MLflow: %s was not written: %s", what, error)
                    self._lost.append(f"{what}: {type(error).__name__}: {error}")
                    return
                logger.warning("MLflow: %s failed (%s), trying again in %.1f s", what, error, delay)
                time.sleep(delay)
                delay = min(2 * delay, 30.0)
