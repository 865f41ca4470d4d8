"""Ctrl-C while a search runs, in a process of its own."""

import subprocess
import sys

import pytest

from tests.waiting import HANG_S

PROGRAM = """
import os, signal, sys, time
from mdr_tune.sweep.interrupts import Interrupts
interrupts = Interrupts(lambda text: print(text, flush=True), lambda: print("at once", flush=True))
with interrupts.watched():
    for _ in range(int(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
    print("requested", interrupts.requested, flush=True)
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
except KeyboardInterrupt:
    print("raised", flush=True)
"""


@pytest.mark.parametrize(
    ("times", "code", "lines"),
    [(0, 0, ["requested False", "raised"]), (1, 0, ["requested True", "raised"]), (2, 130, ["at once"])],
)
def test_once_in_order_twice_at_once(times: int, code: int, lines: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(times)], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert (done.returncode, done.stderr) == (code, "error: interrupted twice: ended at once\n" if code else "")
    told = [line for line in done.stdout.splitlines() if line.startswith("stopping")]
    assert len(told) == min(times, 1)
    assert [line for line in done.stdout.splitlines() if line not in told] == lines


AT_THE_END = """
import os, signal
from mdr_tune.cli.terminal import exit_code
from mdr_tune.sweep.interrupts import ends_at_once_if_interrupted
def command():
    try:
        with ends_at_once_if_interrupted(lambda: print("Ray ends", flush=True)):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        print("cleaned up", flush=True)
exit_code(command)
"""


def test_an_interrupt_while_ray_is_ended_ends_all_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "Ray ends\n", "error: interrupted\n")
