"""Watch Ray in a thread, and end this process when Ray is lost. Ray itself would end it, but only after a minute."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

from mdr_tune.lanes.ray_seams import lost_process
from mdr_tune.util.last_word import exit_at_once

POLL_S = 0.5
HEAD_POLL_S = 5.0
HEAD_GONE_AFTER_S = 30.0
"""Seconds without an answer after which the head of a cluster counts as lost. A network may fail for a shorter time."""


@contextlib.contextmanager
def ended_if_ray_is_lost(address: str | None) -> Iterator[None]:
    """End this process if Ray is lost within the block, since calls of Ray would then never return.

    `address` (HOST:PORT) is that of the cluster's head node; None if this process started Ray itself.
    """
    stop = threading.Event()
    if address is None:
        poll_s, look = POLL_S, lambda: None if (name := lost_process()) is None else f"its process {name} has ended"
    else:
        poll_s, look = HEAD_POLL_S, Head(address).gone
    threading.Thread(target=_watch, args=(stop, poll_s, look), name="ray-watch", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def _watch(stop: threading.Event, poll_s: float, look: Callable[[], str | None]) -> None:
    while not stop.wait(poll_s):
        why = look()
        if why is not None and not stop.is_set():
            exit_at_once(1, f"Ray was lost: {why}")


class Head:
    """The head node of a cluster at `address` (HOST:PORT), and the time of its last answer. `now` returns seconds."""

    def __init__(self, address: str, now: Callable[[], float] = time.monotonic) -> None:
        host, _, port = address.rpartition(":")
        self._address, self._place, self._now = address, (host.strip("[]"), int(port)), now
        self._answered = now()

    def gone(self) -> str | None:
        """Connect to the head node. Return None, or a text that says why the node is lost.

        It is lost after HEAD_GONE_AFTER_S seconds without an answer.
        """
        try:
            socket.create_connection(self._place, timeout=HEAD_POLL_S).close()
        except OSError as error:
            silent_s = self._now() - self._answered
            if silent_s < HEAD_GONE_AFTER_S:
                return None
            return f"the head of the cluster, {self._address}, has not answered for {silent_s:.0f} s ({error})"
        self._answered = self._now()
        return None
