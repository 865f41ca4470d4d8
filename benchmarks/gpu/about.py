"""What a machine is and has. As a script it prints that as JSON, so that the process that asks opens no GPU."""

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from summary.process import BENCHMARKS, REPOSITORY

NEEDED = (
    *("torch", "torchvision", "numpy", "scipy", "pydantic", "yaml", "rich", "PIL", "pyarrow", "matplotlib"),
    *("pytorch_metric_learning", "pytest", "psutil"),
)
OPTIONAL = ("ray", "mlflow")


@dataclass(frozen=True)
class About:
    """A machine.

    Attributes:
        machine: Host, device and versions, in a line.
        driver: Version of the GPU's driver; None where nvidia-smi does not say.
        gpus: How many torch sees.
        missing: Packages of `NEEDED` that are not there.
        without: Packages of `OPTIONAL` that are not there.
        older_than: Version of torch that this project asks for, where the machine's is older; else None.
    """

    machine: str
    driver: str | None
    gpus: int
    missing: list[str]
    without: list[str]
    older_than: str | None


def ask(environment: dict[str, str]) -> About:
    """Ask a new process.

    Raises:
        RuntimeError: It failed; the text has what it printed.
    """
    command = [sys.executable, "-m", "gpu.about"]
    done = subprocess.run(command, cwd=BENCHMARKS, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the machine cannot be asked:\n{done.stderr}")
    return About(**json.loads(done.stdout.splitlines()[-1]))


def find() -> About:
    """Return what this process's machine is and has."""
    missing, without = ([name for name in names if not importlib.util.find_spec(name)] for names in (NEEDED, OPTIONAL))
    if missing:
        return About("", None, 0, missing, without, None)
    import torch
    from summary.machine import machine

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    line = machine(torch.device("cuda" if gpus else "cpu"))
    return About(line, _driver(), gpus, missing, without, _older_than(torch.__version__))


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None


def _older_than(version: str, project: Path = REPOSITORY / "pyproject.toml") -> str | None:
    found = re.search(r'"torch>=([\d.]+)"', project.read_text())
    assert found is not None
    return found[1] if _numbers(version) < _numbers(found[1]) else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


if __name__ == "__main__":
    print(json.dumps(asdict(find())))
