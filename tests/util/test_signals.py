import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from mdr_tune.cli.terminal import exit_code
from mdr_tune.util.signals import (
    interrupt_on_sigterm,
    interrupts_answered,
    interrupts_deferred,
    obey_in_order,
    raise_if_interrupted,
    signal_handlers_kept,
    sigterm_interrupts,
)
from tests.waiting import HANG_S

HELD = """
import os
from pathlib import Path
from mdr_tune.util.last_word import last_word
from mdr_tune.util.signals import interrupt_on_sigterm, interrupts_answered
interrupt_on_sigterm()
with last_word(Path("/"), "go on with it"), interrupts_answered(lambda: os.write(1, b"at once")):
    # One call of the C library, in which the signal comes, and which does not return.
    os.system("exec > /dev/null 2>&1; kill -TERM $PPID; while kill -0 $PPID; do sleep 0.1; done")
"""


@pytest.fixture(autouse=True)
def _handlers_put_back() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_sigterm_interrupts_within_the_block_and_then_does_what_it_did() -> None:
    before: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: before.append(number))
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert before == [signal.SIGTERM]


def test_a_handler_of_ctrl_c_gets_sigterm_too() -> None:
    got: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: got.append(number))
    interrupt_on_sigterm()
    signal.raise_signal(signal.SIGTERM)
    assert got == [signal.SIGINT]


def test_sigterm_interrupts_where_ctrl_c_is_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
        signal.raise_signal(signal.SIGTERM)


def test_a_second_sigterm_does_nothing_while_the_first_is_obeyed() -> None:
    """`timeout` sends it to its child, and to the group that the child is in."""
    got: list[int] = []

    def obey(number: int, _frame: object) -> None:
        obey_in_order()
        got.append(number)

    signal.signal(signal.SIGINT, obey)
    with sigterm_interrupts():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert got == [signal.SIGINT]


def test_a_second_sigterm_does_not_hinder_a_clean_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdr_tune.util.signals.TWICE_WITHIN_S", 0.0)
    cleaned: list[str] = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            try:
                raise ValueError
            except ValueError:
                signal.raise_signal(signal.SIGHUP)
            cleaned.append("all")

    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
        work()
    assert cleaned == ["all"]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_that_a_library_swallows_is_raised_again(
    monkeypatch: pytest.MonkeyPatch, first: signal.Signals
) -> None:
    with sigterm_interrupts():
        raise_if_interrupted()
        with contextlib.suppress(KeyboardInterrupt):  # the library
            signal.raise_signal(first)
        signal.raise_signal(signal.SIGTERM)  # the same, to the group
        with pytest.raises(KeyboardInterrupt):
            raise_if_interrupted()
        monkeypatch.setattr("mdr_tune.util.signals.TWICE_WITHIN_S", 0.0)
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
    with sigterm_interrupts():
        raise_if_interrupted()  # nothing: that was another command's


def test_an_error_that_a_library_makes_of_an_interrupt_is_told_as_an_interrupt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            raise ValueError from None
        return 0

    assert exit_code(command) == 1
    assert capsys.readouterr().err == "interrupted\n"


def test_a_terminal_that_is_closed_interrupts_unless_nohup_is_there() -> None:
    got: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: got.append(number))
    with sigterm_interrupts():
        signal.raise_signal(signal.SIGHUP)
    assert got == [signal.SIGINT]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with sigterm_interrupts():
        signal.raise_signal(signal.SIGHUP)
    assert got == [signal.SIGINT]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_handler_that_a_library_installs_goes_with_the_block() -> None:
    got: list[str] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: got.append("ours"))
    with signal_handlers_kept():
        signal.signal(signal.SIGTERM, lambda number, _frame: got.append("the library's"))
    signal.raise_signal(signal.SIGTERM)
    assert got == ["ours"]


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done: list[str] = []

    def whole() -> None:
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        whole()
    assert done == ["whole"]
    with interrupts_deferred():
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_main_thread_that_a_library_holds_does_not_keep_a_signal_from_being_answered() -> None:
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, timeout=HANG_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "at once", "error: interrupted\ngo on with it\n")


def test_an_interrupt_that_the_main_thread_answers_is_raised_and_nothing_is_left_of_the_block() -> None:
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts(), interrupts_answered(lambda: os._exit(9)):
        signal.raise_signal(signal.SIGTERM)
    with interrupts_answered(lambda: os._exit(9)):
        pass
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, files)
    assert signal.set_wakeup_fd(-1) == -1


def test_another_thread_changes_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def enter() -> None:
        with sigterm_interrupts(), interrupts_answered():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
    assert signal.getsignal(signal.SIGTERM) is before
