"""What is printed where not all characters can be, or to a reader that is gone: never an exit code or a traceback."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PRINT = """
import logging, sys
from mdr_tune.cli.streams import with_forgiving_output
from mdr_tune.cli.terminal import make_console, print_error

def command():
    console = make_console()
    for _ in range({lines}):
        console.print("é → \\udce9", markup=False, soft_wrap=True)
    print_error(make_console(stderr=True), "é → \\udce9")
    logging.getLogger("mdr_tune").warning("é → \\udce9")
    print("é → \\udce9")
    return {code}

sys.exit(with_forgiving_output(command))
"""
Printing = Callable[[int, int], str]
LAUNCH = str(Path(__file__).parents[2] / "launch.py")


def run(shell: str, program: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a program of Python, a file and its arguments, in a shell's line, in which $RUN stands for it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    return subprocess.run(
        ["bash", "-c", shell.replace("$RUN", f"{sys.executable} {program}")],
        env={**kept, "LANG": "C.UTF-8", **environment},
        capture_output=True,
        check=False,
    )


@pytest.fixture
def printing(tmp_path: Path) -> Printing:
    """Return a function of lines and an exit code that makes a program which prints so many and ends so."""

    def write(lines: int, code: int) -> str:
        file = tmp_path / "printing.py"
        file.write_text(PRINT.format(lines=lines, code=code), encoding="utf-8")
        return str(file)

    return write


@pytest.mark.parametrize(
    ("environment", "encoding", "shown"),
    [
        ({}, "utf-8", "é → \\xe9"),
        ({"PYTHONIOENCODING": "utf-8:strict"}, "utf-8", "é → \\xe9"),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1", "é ? \\xe9"),
        ({"PYTHONIOENCODING": "ascii"}, "ascii", "? ? \\xe9"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "ascii", "? ? \\xe9"),
    ],
    ids=["UTF-8", "strict", "latin-1", "ascii", "C"],
)
def test_what_an_encoding_lacks_is_replaced(
    environment: dict[str, str], encoding: str, shown: str, printing: Printing
) -> None:
    done = run("$RUN", printing(1, 0), **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding).splitlines() == [shown, shown]
    assert done.stderr.decode(encoding).splitlines() == [f"error: {shown}", shown]


@pytest.mark.parametrize("code", [0, 2])
def test_a_reader_that_is_gone_changes_nothing(code: int, printing: Printing) -> None:
    done = run("$RUN | true; exit ${PIPESTATUS[0]}", printing(20000, code))
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.decode() == "error: é → \\xe9\né → \\xe9\n"


def test_closed_streams_are_nowhere(printing: Printing) -> None:
    assert run("$RUN >&- 2>&-", printing(2, 0)).returncode == 0
    assert run("$RUN >&- 2>&-", printing(2, 2)).returncode == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_output_that_is_lost_is_told_once(printing: Printing) -> None:
    done = run("$RUN >/dev/full", printing(9, 0))
    assert done.returncode == 1
    lost = "error: what is printed is lost: stdout cannot be written (No space left on device)"
    assert done.stderr.decode().splitlines().count(lost) == 1
    assert b"Traceback" not in done.stderr
    assert run("$RUN >/dev/full 2>/dev/full", printing(9, 2)).returncode == 2


def test_a_launch_in_an_encoding_that_lacks_its_characters(tmp_path: Path) -> None:
    file = tmp_path / "é→.yaml"
    file.write_text("name: a  # →\n", encoding="utf-8")
    arguments = f"{LAUNCH} --space {file} --storage {tmp_path}/runs --dry-run"
    done = run("$RUN", arguments, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert "a: " + str(tmp_path / "é?.yaml") in done.stdout.decode("latin-1")
    assert run("$RUN | head -1; exit ${PIPESTATUS[0]}", arguments).returncode == 0
    assert run("$RUN --help | true; exit ${PIPESTATUS[0]}", LAUNCH).returncode == 0
