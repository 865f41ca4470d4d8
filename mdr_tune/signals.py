"""SIGTERM, which a scheduler or a service manager sends, taken as Ctrl-C: what is half done is cleaned up.

So is SIGHUP, which comes when the terminal is closed or the connection to it breaks, unless it is ignored (`nohup`).

Only the first one counts. `timeout` and `make` send SIGTERM to their child and to its process group, so that the child
gets it twice; who wants the process to end at once sends SIGKILL then, never a second SIGTERM.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mdr_tune.last_word import exit_at_once

INTERRUPTED_EXIT_CODE = 130
"""Of a program that Ctrl-C ended, as shells have it."""


_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def interrupt_on_sigterm() -> None:
    """Let SIGTERM and SIGHUP do what Ctrl-C does from now on.

    Nothing changes outside the main thread, which alone may set handlers, nor for a SIGHUP that `nohup` had ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _ENDINGS:
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does within the block; afterwards they do what they did before."""
    with sigterm_handler_kept():
        interrupt_on_sigterm()
        yield


@contextmanager
def sigterm_handler_kept() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do after the block what they did before, whatever handlers a library installs within."""
    before = {number: signal.getsignal(number) for number in _ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(number, handler)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the block for a Ctrl-C that came within it; a second one ends the process.

    For code that cannot be left in the middle.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    came = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        if came:
            exit_at_once(INTERRUPTED_EXIT_CODE, "interrupted twice: ended at once")
        came = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in _ENDINGS:
        signal.signal(number, _ignore)
    # A shell that starts a command in the background may have it ignore SIGINT, but not SIGTERM.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)  # not the exception itself: a running sweep has a handler of its own


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing. SIG_IGN instead would be inherited by processes that are started from now on."""
