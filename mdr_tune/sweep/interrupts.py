"""Handle Ctrl-C while a search runs. SIGTERM has the same effect; see `mdr_tune.util.signals`."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mdr_tune.util.last_word import exit_at_once
from mdr_tune.util.signals import INTERRUPTED_EXIT_CODE, obey_in_order, raise_if_interrupted


class Interrupts:
    """Handler of Ctrl-C: the first one requests an orderly end of the sweep, the second ends the process at once.

    At the first Ctrl-C, `tell` is called with a line for the user. At the second, `at_once` is called before the
    process ends without any clean-up.
    """

    def __init__(self, tell: Callable[[str], None], at_once: Callable[[], None]) -> None:
        self._tell, self._at_once = tell, at_once
        self.requested = False
        """Whether the user has asked for an end of the sweep."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Handle Ctrl-C by this object within the block. Outside of the block, Ctrl-C raises KeyboardInterrupt.

        In a thread other than the main one this does nothing, since Python sets handlers in the main thread only.

        Raises:
            KeyboardInterrupt: An interrupt came before the block, and a library caught it.
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
        # In a thread: the handler may have interrupted code that holds the lock of the terminal.
        threading.Thread(target=self._tell, args=(_STOPPING,), daemon=True).start()


@contextmanager
def ends_at_once_if_interrupted(at_once: Callable[[], None]) -> Iterator[None]:
    """Call `at_once` and end this process if Ctrl-C comes within the block, in which the caller shuts Ray down.

    A shutdown must not stop half-way: threads of a Ray that is half shut down may start another Ray.
    """
    try:
        yield
    except KeyboardInterrupt:
        exit_at_once(1, "interrupted", at_once)


_STOPPING = (
    "stopping: trials go on from their last epoch's checkpoint when the sweep is resumed (Ctrl-C again: at once)"
)
