"""The heartbeat of a worker: a thread that reports the worker's progress to the hub, and ends a stuck process."""

import os
import threading
import traceback
from collections.abc import Callable

BEAT_EVERY_S = 2.0
TIME_TO_LEAVE_S = 5.0
"""Seconds in which a worker must end by itself after the hub dismissed its group. A slower worker is stuck."""


class Heartbeat:
    """A context manager that calls `beat(count())` every `every_s` seconds in a thread, until its block ends.

    `count` returns the number of steps that this worker has made. `beat` reports this number to the hub, and returns
    False if the worker has to end. If the block then does not end within `time_to_leave_s` seconds, `end_process` is
    called. By default it ends this process, since a thread that is stuck in a collective cannot be ended otherwise. Ray
    Train then starts the lane's workers anew.
    """

    def __init__(
        self,
        beat: Callable[[int], bool],
        count: Callable[[], int],
        end_process: Callable[[], None] = lambda: os._exit(1),
        every_s: float = BEAT_EVERY_S,
        time_to_leave_s: float = TIME_TO_LEAVE_S,
    ) -> None:
        self._beat, self._count, self._end_process = beat, count, end_process
        self._every_s, self._time_to_leave_s = every_s, time_to_leave_s
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def _run(self) -> None:
        try:
            while self._beat(self._count()):
                if self._left.wait(self._every_s):
                    return
        except Exception:  # the hub and the sweep are gone: Ray ends this process
            if not self._left.is_set():
                traceback.print_exc()
            return
        if not self._left.wait(self._time_to_leave_s):
            self._end_process()
