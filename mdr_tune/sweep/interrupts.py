"""Ctrl-C while a search runs: once, it ends in order; twice, at once. SIGTERM does what Ctrl-C does (see `signals`)."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mdr_tune.util.last_word import exit_at_once
from mdr_tune.util.signals import INTERRUPTED_EXIT_CODE, obey_in_order, raise_if_interrupted


class Interrupts:
    """Counts Ctrl-C.

    Args:
        tell: Takes a line for the user at the first.
        at_once: Called at the second, before the process ends without any clean-up.
    """

    def __init__(self, tell: Callable[[str], None], at_once: Callable[[], None]) -> None:
        self._tell, self._at_once = tell, at_once
        self.requested = False
        """The user wants the sweep to end."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take SIGINT over within the block, in the main thread; outside of it, it raises KeyboardInterrupt.

        Raises:
            KeyboardInterrupt: One came before, and was swallowed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        raise_if_interrupted()
        before = signal.signal(signal.SIGINT, self._on_sigint)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_sigint(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            exit_at_once(INTERRUPTED_EXIT_CODE, "interrupted twice: ended at once", self._at_once)
        self.requested = True
        obey_in_order()
        # Not from here: the handler may have interrupted whoever holds the lock of the terminal.
        threading.Thread(target=self._tell, args=(_STOPPING,), daemon=True).start()


@contextmanager
def ends_at_once_if_interrupted(at_once: Callable[[], None]) -> Iterator[None]:
    """End this process without any clean-up for an interrupt within the block, in which Ray is ended.

    The block cannot be left in the middle: of a Ray that is half ended, threads may start another one.

    Args:
        at_once: Called before.
    """
    try:
        yield
    except KeyboardInterrupt:
        exit_at_once(1, "interrupted", at_once)


_STOPPING = (
    "stopping: trials go on from their last epoch's checkpoint when the sweep is resumed (Ctrl-C again: at once)"
)
