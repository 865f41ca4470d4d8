"""Run a script as W ranks of a gloo group, one process each, and wait for them."""

import subprocess
import sys
from pathlib import Path

from tests.waiting import HANG_S


def run_ranks(script: Path, world_size: int, *arguments: str) -> None:
    """Run `python script RANK WORLD_SIZE arguments...` for each rank; fail with the output of the first that fails."""
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(world_size), *arguments], stderr=subprocess.PIPE, text=True
        )
        for rank in range(world_size)
    ]
    try:
        for process in ranks:
            _, errors = process.communicate(timeout=HANG_S)
            assert process.returncode == 0, errors
    finally:
        for process in ranks:
            process.kill()
