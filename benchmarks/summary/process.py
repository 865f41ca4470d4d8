"""A process of a benchmark's own, which no server or cluster of the one who runs it reaches."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1]
REPOSITORY = BENCHMARKS.parent
_ELSEWHERE = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "RAY_ADDRESS")


def run_module(
    module: str, argv: Sequence[str], environment: Mapping[str, str] | None = None, timeout_s: float | None = None
) -> None:
    """Run `python -m module *argv` in the repository, with benchmarks/ on its path and that of its workers.

    Args:
        module: Of benchmarks/, dotted.
        argv: Its arguments.
        environment: Variables beside those of this process; the addresses of MLflow's server and Ray's cluster are
            not passed on.
        timeout_s: After which it is killed.

    Raises:
        RuntimeError: It failed; the text is what it printed.
        subprocess.TimeoutExpired: It was killed.
    """
    variables = {key: value for key, value in os.environ.items() if key not in _ELSEWHERE}
    variables |= {"PYTHONPATH": str(BENCHMARKS), **(environment or {})}
    with tempfile.TemporaryFile("w+") as printed:  # not a pipe, which what Ray leaves for seconds keeps open
        done = subprocess.run(
            [sys.executable, "-m", module, *argv],
            cwd=REPOSITORY,
            env=variables,
            stdout=printed,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
        )
        if done.returncode != 0:
            printed.seek(0)
            raise RuntimeError(f"{module} ended with {done.returncode}:\n{printed.read()}")
