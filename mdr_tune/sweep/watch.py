"""A thread that tells when the lanes are up, when they are not for long, when one is lost; and what they say."""

import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError

from mdr_tune.words import count

POLL_S = 2.0
NOTICE_EVERY_S = 60.0


class LaneWatch:
    """Polls the hub and tells changes; a context manager.

    Args:
        hub: The lanes' hub.
        num_lanes: How many lanes there should be.
        tell: Takes a line for the user.
    """

    def __init__(self, hub: Any, num_lanes: int, tell: Callable[[str], None]) -> None:
        self._hub, self._tell = hub, tell
        self._news = LaneNews(num_lanes)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lane-watch", daemon=True)

    def __enter__(self) -> "LaneWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(POLL_S + 1)

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                ready, lines = ray.get([self._hub.ready_lanes.remote(), self._hub.take_news.remote()])
            except RayError:
                return  # the sweep is being ended, or fails for a reason that is told elsewhere
            line = self._news.of(ready, time.monotonic())
            for text in [*lines, *([line] if line is not None else [])]:
                if not self._stop.is_set():
                    self._tell(text)


class LaneNews:
    """What there is to tell about the number of lanes that are up."""

    def __init__(self, num_lanes: int) -> None:
        self._num_lanes = num_lanes
        self._last = 0
        self._were_all_up = False
        self._next_notice: float | None = None

    def of(self, ready: int, now: float) -> str | None:
        """Return a line if something changed, or if lanes have been missing for another NOTICE_EVERY_S seconds."""
        before, self._last = self._last, ready
        if ready == self._num_lanes:
            again = " again" if self._were_all_up else ""
            self._were_all_up, self._next_notice = True, None
            return f"the workers of {count(ready, 'lane')} are up{again}" if before != ready else None
        if self._next_notice is None:
            self._next_notice = now + NOTICE_EVERY_S
        if ready < before:
            return "a lane lost a worker; Ray Train starts it anew, its trial goes on from its last checkpoint"
        if now >= self._next_notice:
            self._next_notice = now + NOTICE_EVERY_S
            return f"still waiting: {ready} of {count(self._num_lanes, 'lane')} up; are enough CPUs and GPUs free?"
        return None
