"""Let SIGTERM and SIGHUP interrupt the process as Ctrl-C does, so that half-done work is cleaned up.

SIGTERM comes from a scheduler or a service manager. SIGHUP comes when the terminal is closed or the connection to it
breaks; it stays ignored under `nohup`.

A SIGTERM right after another one is no second request: `timeout` and `make` send it to their child and to its process
group, so that the child gets it twice. It does nothing while the first is being obeyed.

A library may catch the KeyboardInterrupt of an interrupt and go on. Each interrupt is therefore noted.
`raise_if_interrupted` raises it again between the steps of a command, and the next signal raises it anywhere.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mdr_tune.util.last_word import exit_at_once

INTERRUPTED_EXIT_CODE = 130
"""Exit code of a program that Ctrl-C ended, by the convention of shells."""


ANSWER_WITHIN_S = 2.0
"""Time for which a library may hold the main thread after an interrupt."""
TWICE_WITHIN_S = 1.0
"""Time within which a second signal counts as the first one, sent to the process and to its group."""
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class _Interrupt:
    """State of the last interrupt of this process.

    Attributes:
        came_at: Time of the monotonic clock at which KeyboardInterrupt was raised; None if it was not.
        is_obeyed: Whether the process is ending in order, so that SIGTERM and SIGHUP raise nothing.
    """

    came_at: float | None = None
    is_obeyed = False


_last = _Interrupt()


def was_interrupted() -> bool:
    """Return whether an interrupt has raised KeyboardInterrupt, even if some code has caught it since."""
    return _last.came_at is not None


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt again, in the main thread, if an interrupt came and some code has caught it."""
    if was_interrupted() and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def obey_in_order() -> None:
    """Have SIGTERM and SIGHUP do nothing from now on: the process already ends in order, as the first one asked."""
    _last.is_obeyed = True


def interrupt_on_sigterm() -> None:
    """Let SIGTERM and SIGHUP do what Ctrl-C does from now on, and forget earlier interrupts.

    Nothing happens outside the main thread, which alone may set handlers. A SIGHUP that `nohup` ignores stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    _last.came_at, _last.is_obeyed = None, False
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _raise)
    for number in _ENDINGS:
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does within the block, and restore their handlers after it."""
    with signal_handlers_kept():
        interrupt_on_sigterm()
        yield


@contextmanager
def signal_handlers_kept() -> Iterator[None]:
    """Restore the handlers of SIGINT, SIGTERM and SIGHUP after the block, whatever it installs."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDINGS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(number, handler)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold back a Ctrl-C that comes within the block, and raise KeyboardInterrupt at the end of the block.

    It protects code that must not be left in the middle. A second Ctrl-C ends the process at once. Nothing changes
    outside the main thread, or if SIGINT is ignored.
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
        _raise()


@contextmanager
def interrupts_answered(at_once: Callable[[], None] = lambda: None) -> Iterator[None]:
    """End this process on an interrupt even if a library holds the main thread within the block.

    An interrupt raises KeyboardInterrupt in the main thread as usual, unless a library's code holds that thread. If the
    block has not ended ANSWER_WITHIN_S later, the process ends without any clean-up. Nothing changes outside the main
    thread.

    Args:
        at_once: Function that is called last before the process ends without clean-up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    left = threading.Event()

    def watch() -> None:
        while came := os.read(reader, 1):
            if came[0] in (signal.SIGINT, *_ENDINGS) and not left.wait(ANSWER_WITHIN_S):
                exit_at_once(1, "interrupted", at_once)

    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # works whatever the main thread does
    watcher = threading.Thread(target=watch, name="interrupts", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        os.close(writer)
        watcher.join()
        os.close(reader)


def _raise(_number: int = signal.SIGINT, _frame: FrameType | None = None) -> None:
    """Note the time of an interrupt, and raise KeyboardInterrupt."""
    _last.came_at = time.monotonic()
    raise KeyboardInterrupt


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if _is_being_answered():
        return
    # A shell that starts a command in the background may have it ignore SIGINT, but not SIGTERM.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        _raise()
    signal.raise_signal(signal.SIGINT)  # not the exception itself: a running sweep has a handler of its own


def _is_being_answered() -> bool:
    """Return whether the last interrupt is being obeyed, such as by the clean-up of a block that it ended."""
    if _last.is_obeyed:
        return True
    if _last.came_at is None:
        return False
    handled = sys.exception()
    while handled is not None and not isinstance(handled, KeyboardInterrupt):
        handled = handled.__context__
    return handled is not None or time.monotonic() - _last.came_at < TWICE_WITHIN_S
