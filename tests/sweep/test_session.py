"""Ray that does not start, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from mdr_tune.cli.terminal import exit_code
from mdr_tune.sweep.session import ray_session

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
