"""Waiting for what another thread or process does."""

import time
from collections.abc import Callable


def wait_for(happened: Callable[[], bool], timeout_s: float = 120, every_s: float = 0.2) -> None:
    """Wait until something is so; fails after a while."""
    end = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < end, f"it did not happen within {timeout_s} s"
        time.sleep(every_s)
