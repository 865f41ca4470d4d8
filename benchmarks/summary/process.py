"""A process of a benchmark's own, which no server or cluster of the one who runs it reaches."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

BENCHMARKS = Path(__file__).parents[1]
REPOSITORY = BENCHMARKS.parent
_ELSEWHERE = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_ID",
    "RAY_ADDRESS",
    "RAY_NAMESPACE",
)


def run_module(
    module: str, argv: Sequence[str], environment: Mapping[str, str] | None = None, timeout_s: float | None = None
) -> None:
    """Run `python -m module *argv` in the repository; PYTHONPATH is benchmarks/ alone, for it and its workers.

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
    # Not a pipe, which what Ray leaves for seconds keeps open.
    with tempfile.TemporaryFile("w+", errors="replace") as printed:
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
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"{module} ended with {error.returncode}:\n{_text_of(printed)}") from error
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{module} was killed after {timeout_s:g} s:\n{_text_of(printed)}") from error


def _text_of(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
