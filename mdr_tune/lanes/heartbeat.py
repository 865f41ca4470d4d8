"""The heartbeat of a worker: a thread that reports the worker's progress to the hub, and ends a stuck process."""

import os
import threading
import traceback
from collections.abc import Callable

BEAT_EVERY_S = 2.0
TIME_TO_LEAVE_S = 5.0
"""Time in which a worker must end by itself after the hub dismissed its group. If it takes longer, it is stuck."""


class Heartbeat:
    """A context manager that calls `beat` regularly in a thread, until its block ends.

    Args:
        beat: Function that reports this rank's count of steps to the hub. It returns whether the worker's group stays
            in use.
        count: Function that returns the count of steps.
        end_process: Function that is called if the group was dismissed and the block does not end in time. The default
            ends the process, because a thread that is stuck in a collective cannot be ended in another way. Ray Train
            then starts the lane's workers anew.
        every_s: Time between two calls of `beat`, in seconds.
        time_to_leave_s: Time in which the block must end after the group was dismissed, in seconds.
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
