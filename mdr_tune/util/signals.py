"""Let SIGTERM and SIGHUP interrupt the process as Ctrl-C does, so that half-done work is cleaned up.

A scheduler or a service manager sends SIGTERM. The system sends SIGHUP when the terminal or the connection to it is
closed. Under `nohup`, SIGHUP stays ignored.

A second SIGTERM does nothing while the process reacts to the first one. It is usually no second request: `timeout` and
`make` send SIGTERM to their child and to its process group, so that the child gets the signal twice.

An interrupt raises KeyboardInterrupt. A library may catch this exception and go on, so this module remembers that an
interrupt came. `raise_if_interrupted`, which commands call between their steps, raises KeyboardInterrupt again.
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
"""Exit code of a program that was ended by Ctrl-C. Shells use this number too."""


ANSWER_WITHIN_S = 2.0
"""Seconds after which the process is ended if a library still blocks the main thread after an interrupt."""
TWICE_WITHIN_S = 1.0
"""Seconds in which a second signal does nothing. The sender may have sent one signal to the process and its group."""
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class _Interrupt:
    """State of the last interrupt of this process.

    Attributes:
        came_at: time at which KeyboardInterrupt was raised, by the monotonic clock; None if no interrupt came.
        is_obeyed: whether the process is already ending in order. SIGTERM and SIGHUP then do nothing.
    """

    came_at: float | None = None
    is_obeyed = False


_last = _Interrupt()


def was_interrupted() -> bool:
    """Return whether an interrupt has raised KeyboardInterrupt, even if some code has caught it."""
    return _last.came_at is not None


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt in the main thread if an interrupt came, since a library may have caught the first."""
    if was_interrupted() and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def obey_in_order() -> None:
    """Make SIGTERM and SIGHUP do nothing from now on, because the process is already ending in order."""
    _last.is_obeyed = True


def interrupt_on_sigterm() -> None:
    """Make SIGTERM and SIGHUP do what Ctrl-C does from now on, and forget earlier interrupts.

    Outside of the main thread, this does nothing. If SIGHUP is ignored, as under `nohup`, it stays ignored.
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
    """Make SIGTERM and SIGHUP do what Ctrl-C does within the block, and restore their handlers after it."""
    with signal_handlers_kept():
        interrupt_on_sigterm()
        yield


@contextmanager
def signal_handlers_kept() -> Iterator[None]:
    """Restore the handlers of SIGINT, SIGTERM and SIGHUP after the block, in case code in the block changes them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDINGS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(number, handler)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Delay a Ctrl-C that comes within the block: KeyboardInterrupt is raised at the end of the block.

    Use this for code that must not be interrupted in the middle. A second Ctrl-C ends the process at once. Outside of
    the main thread, and if SIGINT is ignored, this does nothing.
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
    """Make sure that an interrupt ends the block, or else the process, even if a library blocks the main thread.

    Usually, an interrupt raises KeyboardInterrupt in the main thread, which ends the block. Python cannot raise the
    exception while a library's compiled code runs. If the block has not ended within ANSWER_WITHIN_S, the process is
    ended without clean-up, after a call of `at_once`. Outside of the main thread, this does nothing.
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
    """Return whether the process is still reacting to the last interrupt, for example by cleaning up."""
    if _last.is_obeyed:
        return True
    if _last.came_at is None:
        return False
    handled = sys.exception()
    while handled is not None and not isinstance(handled, KeyboardInterrupt):
        handled = handled.__context__
    return handled is not None or time.monotonic() - _last.came_at < TWICE_WITHIN_S
