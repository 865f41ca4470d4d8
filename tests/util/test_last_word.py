"""What a process says that does not end in order, each in a process of its own."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mdr_tune.util.last_word import ENDED

PROGRAM = """
import os, signal, sys
from pathlib import Path
from mdr_tune.util.last_word import exit_at_once, last_word, say_after_last_word
with last_word(Path("made"), "go on with it"):
    exec(sys.argv[1])
print("after", file=sys.stderr)
"""


def run(folder: Path, body: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROGRAM, body]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, start_new_session=True
    )


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("pass", 0, "after\n"),
        ("os._exit(1)", 1, f"{ENDED}\n"),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, f"{ENDED}\n"),
        ("os.killpg(0, signal.SIGTERM)", -signal.SIGTERM, f"{ENDED}\n"),
        ("Path('made').touch(); os._exit(1)", 1, f"{ENDED}\ngo on with it\n"),
        ("exit_at_once(3, 'Ray was lost')", 3, "error: Ray was lost\n"),
        ("Path('made').touch(); exit_at_once(3, 'Ray was lost')", 3, "error: Ray was lost\ngo on with it\n"),
        ("Path('made').touch(); say_after_last_word('all done'); os._exit(1)", 1, f"{ENDED}\nall done\n"),
        ("Path('made').touch(); say_after_last_word('all done'); exit_at_once(1, 'no')", 1, "error: no\nall done\n"),
        ("os.close(2); exit_at_once(3, 'Ray was lost')", 3, ""),
    ],
)
def test_what_is_said(tmp_path: Path, body: str, code: int, said: str) -> None:
    done = run(tmp_path, body)
    assert (done.returncode, done.stderr) == (code, said)


def test_an_exception_says_what_it_is(tmp_path: Path) -> None:
    done = run(tmp_path, "raise RuntimeError('the reason')")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "RuntimeError: the reason"
    assert ENDED not in done.stderr


def test_an_error_that_the_process_does_not_live_to_report(tmp_path: Path) -> None:
    body = """
from mdr_tune.util.last_word import errors_are_the_last_word
try:
    with errors_are_the_last_word():
        raise ValueError("the run was\\ndeleted")
finally:
    os._exit(1)
"""
    done = run(tmp_path, body)
    assert (done.returncode, done.stderr) == (1, "error: ValueError: the run was deleted\n")


def test_at_once_without_a_last_word() -> None:
    code = "from mdr_tune.util.last_word import exit_at_once; exit_at_once(130, 'ended at once')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (130, "error: ended at once\n")
