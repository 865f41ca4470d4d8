"""Waiting for what another thread or process does.

The limit only ends a test that hangs: no machine, however slow or busy, takes as long for anything that tests wait for.
"""

import time
from collections.abc import Callable

HANG_S = 1200.0
"""Seconds after which whatever is waited for never comes."""


def wait_for(happened: Callable[[], bool], what: str = "it", every_s: float = 0.2) -> None:
    """Wait until something is so; fails when it never will be."""
    end = time.monotonic() + HANG_S
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen within {HANG_S:.0f} s"
        time.sleep(every_s)
