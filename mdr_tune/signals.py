"""SIGTERM, which a scheduler or a service manager sends, taken as Ctrl-C: what is half done is cleaned up.

So is SIGHUP, which comes when the terminal is closed or the connection to it breaks, unless it is ignored (`nohup`).

Only the first one counts. `timeout` and `make` send SIGTERM to their child and to its process group, so that the child
gets it twice; who wants the process to end at once sends SIGKILL then, never a second SIGTERM.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mdr_tune.last_word import exit_at_once

INTERRUPTED_EXIT_CODE = 130
"""Of a program that Ctrl-C ended, as shells have it."""


ANSWER_WITHIN_S = 2.0
"""How long after an interrupt a library's code may hold the main thread."""
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


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in _ENDINGS:
        signal.signal(number, _ignore)
    # A shell that starts a command in the background may have it ignore SIGINT, but not SIGTERM.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)  # not the exception itself: a running sweep has a handler of its own


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing. SIG_IGN instead would be inherited by processes that are started from now on."""
