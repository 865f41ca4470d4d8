"""Make the writes to MLflow in order on a thread, so that a slow store does not delay the search."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0
GIVE_UP_AFTER_S = 300.0
ENTRIES_A_WRITE = 1000
"""Largest number of metrics that MLflow takes in one call."""
GATHER_S = 1.0
"""Seconds that entries wait for others of their key, since a call takes about as long for ten epochs as for one."""


class TrackingLost(RuntimeError):  # noqa: N818
    """Error after some writes to the store were given up; its text names these writes, and says why."""


@dataclass
class _Item:
    """A queued write: either a function to call, or entries that later entries may join while they wait."""

    what: str
    key: str | None
    write: Callable[[], None] | None = None
    write_entries: Callable[[list[Any]], None] | None = None
    entries: list[Any] | None = None
    due: float = 0.0  # when entries stop waiting for others, on the monotonic clock
    merged: int = 0

    def run(self) -> None:
        if self.write_entries is not None and self.entries is not None:
            self.write_entries(self.entries)
        elif self.write is not None:
            self.write()

    def __str__(self) -> str:
        return f"{self.what} and {self.merged} more" if self.merged else self.what


class OrderedWriter:
    """Makes writes one after another on a thread.

    A write is retried for up to `give_up_after_s` seconds, then counted as lost. Each of the next writes is then tried
    only once, until one succeeds. So a store that never comes back costs `give_up_after_s` once, and not once for each
    write.

    A write is either a function or a list of entries, such as the metrics of an epoch. Its key names a trial, for
    example. Entries of the same key are written in one call if they are queued within `gather_s` seconds, or while the
    thread is busy with earlier writes. But they are not joined if another write of the key was queued in between. So
    the writes of a key keep their order, and the queue grows with the number of trials, not of epochs. While entries
    wait, all writes that were queued after them wait too.
    """

    def __init__(self, give_up_after_s: float = GIVE_UP_AFTER_S, gather_s: float = GATHER_S) -> None:
        self._give_up_after_s, self._gather_s = give_up_after_s, gather_s
        self._queue: deque[_Item | None] = deque()
        self._growing: dict[str | None, _Item] = {}
        self._changed = threading.Condition()
        self._lost: list[tuple[str | None, str]] = []
        self._told = 0
        self._store_is_gone = False
        self._start()

    def _start(self) -> None:
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def put(self, what: str, write: Callable[[], None], key: str | None = None) -> None:
        """Queue `write`. If it fails, the message names it as `what`.

        Entries of the same `key` that are queued later are written after this write. If `key` is None, this holds for
        the entries of all keys.
        """
        with self._changed:
            if key is None:
                self._growing.clear()
            else:
                self._growing.pop(key, None)
            self._append(_Item(what, key, write))

    def put_entries(self, what: str, entries: list[Any], write: Callable[[list[Any]], None], key: str) -> None:
        """Queue `entries` of `key`. `write` gets them in one call, together with waiting entries of the same key.

        If the call fails, the message names the write as `what`.
        """
        with self._changed:
            waiting = self._growing.get(key)
            if waiting is not None and len(waiting.entries or []) + len(entries) <= ENTRIES_A_WRITE:
                waiting.entries = [*(waiting.entries or []), *entries]
                waiting.merged += 1
                return
            due = time.monotonic() + self._gather_s
            self._growing[key] = _Item(what, key, write_entries=write, entries=list(entries), due=due)
            self._append(self._growing[key])

    def lost(self, key: str) -> bool:
        """Say whether a write of `key` was given up.

        Call it only in a queued write; it is not safe on other threads.
        """
        return any(lost_key == key for lost_key, _ in self._lost)

    def recovered(self, key: str) -> None:
        """Forget the lost writes of `key`, after the lost data were written in another way.

        Call it only in a function that is queued as a write, because it is not safe on other threads.
        """
        if self.lost(key):
            self._told -= sum(lost_key == key for lost_key, _ in self._lost[: self._told])
            self._lost = [(lost_key, text) for lost_key, text in self._lost if lost_key != key]

    def wait(self) -> None:
        """Wait until all queued writes are made or given up.

        Raises:
            TrackingLost: Some writes were given up, and no earlier error has named them.
        """
        done = threading.Event()
        self.put("all", done.set)
        done.wait()
        self._say_what_was_lost()

    def close(self) -> None:
        """Wait until all queued writes are made or given up, and end the thread. A later write starts another thread.

        Raises:
            TrackingLost: Some writes were given up, and no earlier error has named them.
        """
        with self._changed:
            self._growing.clear()
            self._append(None)
        self._thread.join()
        self._say_what_was_lost()

    def _say_what_was_lost(self) -> None:
        texts = [text for _, text in self._lost[self._told :]]
        self._told = len(self._lost)
        if texts:
            raise TrackingLost(f"{len(texts)} writes to MLflow were lost: " + "; ".join(texts[:5]))

    def _append(self, item: _Item | None) -> None:
        self._queue.append(item)
        if self._ends:
            self._start()
        self._changed.notify()

    def _take(self) -> _Item | None:
        with self._changed:
            while (seconds := self._until_next()) is None or seconds > 0:
                self._changed.wait(seconds)
            item = self._queue.popleft()
            self._ends = item is None
            if item is not None and self._grows(item):
                del self._growing[item.key]
            return item

    def _until_next(self) -> float | None:
        """Return the seconds until the next write is due; None if the queue is empty."""
        if not self._queue:
            return None
        item = self._queue[0]
        return item.due - time.monotonic() if item is not None and self._grows(item) else 0.0

    def _grows(self, item: _Item) -> bool:
        return self._growing.get(item.key) is item

    def _run(self) -> None:
        while (item := self._take()) is not None:
            self._write(item)

    def _write(self, item: _Item) -> None:
        delay, started = FIRST_RETRY_S, time.monotonic()
        while True:
            try:
                item.run()
                self._store_is_gone = False
                return
            except Exception as error:
                if self._store_is_gone or time.monotonic() - started > self._give_up_after_s:
                    self._store_is_gone = True
                    logger.error("MLflow: %s was not written: %s", item, error)
                    self._lost.append((item.key, f"{item}: {type(error).__name__}: {error}"))
                    return
                logger.warning("MLflow: %s failed (%s), trying again in %.1f s", item, error, delay)
                time.sleep(delay)
                delay = min(2 * delay, LONGEST_RETRY_S)
