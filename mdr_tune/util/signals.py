"""SIGTERM, which a scheduler or a service manager sends, taken as Ctrl-C: what is half done is cleaned up.

So is SIGHUP, which comes when the terminal is closed or the connection to it breaks, unless it is ignored (`nohup`).

A SIGTERM that follows another one is not a second wish: `timeout` and `make` send it to their child and to its process
group, so that the child gets it twice. It does nothing as long as the first is being obeyed. But a library may catch
the KeyboardInterrupt of the first and go on. So an interrupt is noted when it comes: `raise_if_interrupted` raises it
again between the steps of a command, and the next signal raises it wherever it comes.
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
"""Of a program that Ctrl-C ended, as shells have it."""


ANSWER_WITHIN_S = 2.0
"""How long after an interrupt a library's code may hold the main thread."""
TWICE_WITHIN_S = 1.0
"""A signal that follows another one so soon is the same one, sent to the process and to its group."""
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class _Interrupt:
    """The last interrupt of this process, as far as it is known.

    Attributes:
        came_at: When it raised KeyboardInterrupt, on the monotonic clock; None if none did.
        is_obeyed: It raises nothing: a sweep ends in order.
    """

    came_at: float | None = None
    is_obeyed = False


_last = _Interrupt()


def was_interrupted() -> bool:
    """Return whether an interrupt has raised KeyboardInterrupt, which somebody may have caught since."""
    return _last.came_at is not None


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt once more, in the main thread, if code that is done now has swallowed it."""
    if was_interrupted() and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def obey_in_order() -> None:
    """Have SIGTERM and SIGHUP do nothing from now on: the process ends in order, as the first one wanted."""
    _last.is_obeyed = True


def interrupt_on_sigterm() -> None:
    """Let SIGTERM and SIGHUP do what Ctrl-C does from now on, and forget interrupts that came before.

    Nothing changes outside the main thread, which alone may set handlers, nor for a SIGHUP that `nohup` had ignored.
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
    """Let SIGTERM and SIGHUP do what Ctrl-C does within the block; afterwards they do what they did before."""
    with signal_handlers_kept():
        interrupt_on_sigterm()
        yield


@contextmanager
def signal_handlers_kept() -> Iterator[None]:
    """Let signals do after the block what they did before, whatever handlers are installed within."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDINGS)}
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
        _raise()


@contextmanager
def interrupts_answered(at_once: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Have an interrupt end this process even if a library's code holds the main thread, which then raises nothing.

    In the main thread an interrupt raises KeyboardInterrupt, as ever. If the block is not left ANSWER_WITHIN_S later,
    the process ends without any clean-up. Outside the main thread nothing changes.

    Args:
        at_once: Called as the last thing then.
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

    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # written to whatever the main thread does
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
    """Note an interrupt, and raise it."""
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
    """Return whether the last interrupt is being obeyed: a block that it ended is being cleaned up, for one."""
    if _last.is_obeyed:
        return True
    if _last.came_at is None:
        return False
    handled = sys.exception()
    while handled is not None and not isinstance(handled, KeyboardInterrupt):
        handled = handled.__context__
    return handled is not None or time.monotonic() - _last.came_at < TWICE_WITHIN_S
