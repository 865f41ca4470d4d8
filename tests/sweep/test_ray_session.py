"""Ray that does not start, in a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import HANG_S, wait_for

PROGRAM = """
import sys
from mdr_tune.cli.terminal import exit_code
from mdr_tune.sweep.ray_session import ray_session

def start():
    with ray_session(None, 1):
        return 0

sys.exit(exit_code(start))
"""


@pytest.mark.ray
def test_a_start_that_fails_is_a_mistake_that_can_be_mended(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)  # too long for a socket; a launch looks before
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "RAY_TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: Ray did not start: validate_socket_filename failed")
    assert f"Its logs are in {folder}/ray/session_latest/logs" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.ray
def test_a_signal_ends_a_start_that_hangs(tmp_path: Path) -> None:
    """Ray's first process is stopped as soon as it is there: nothing that Ray waits for comes."""
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        wait_for(lambda: _children(process.pid, "gcs_server") != [], "Ray's first process", every_s=0.01)
        children = _children(process.pid, "gcs_server")
        os.kill(children[0], signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=HANG_S)
    assert (process.returncode, output) == (1, "interrupted\n")
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def _children(parent: int, name: str) -> list[int]:
    """Return the children of a process whose command contains a name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            columns = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(columns[1]) == parent and name in (folder / "cmdline").read_text():
                found.append(int(folder.name))
    return found
