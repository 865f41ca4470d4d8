"""A process of a benchmark's own, which no server or cluster of the one who runs it reaches."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1]
REPOSITORY = BENCHMARKS.parent
_ELSEWHERE = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_RUN_ID",
    "RAY_ADDRESS",
    "RAY_NAMESPACE",
)


def run_module(
    module: str, argv: Sequence[str], environment: Mapping[str, str] | None = None, timeout_s: float | None = None
) -> None:
    """Run `python -m module *argv` in the repository; of PYTHONPATH it and its workers see benchmarks/ alone.

    Args:
        module: Of benchmarks/, dotted.
        argv: Its arguments.
        environment: Variables beside those of this process, of which those that name an MLflow server or run, or a
            Ray cluster, are not passed on.
        timeout_s: After which it is killed.

    Raises:
        RuntimeError: It failed or was killed; the text has what it printed.
    """
    variables = {key: value for key, value in os.environ.items() if key not in _ELSEWHERE}
    variables |= {"PYTHONPATH": str(BENCHMARKS), **(environment or {})}
    command = [sys.executable, "-m", module, *argv]
    with tempfile.TemporaryFile("w+") as printed:  # not a pipe, which what Ray leaves for seconds keeps open
        try:
            subprocess.run(
                command,
                cwd=REPOSITORY,
                env=variables,
                stdout=printed,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=True,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            how = (
                f"was killed after {timeout_s:g} s"
                if isinstance(error, subprocess.TimeoutExpired)
                else (f"ended with {error.returncode}")
            )
            printed.seek(0)
            raise RuntimeError(f"{module} {how}:\n{printed.read()}") from error
