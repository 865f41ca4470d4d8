"""What was measured on, and its clock."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def machine(device: torch.device) -> str:
    """Return the host, the device and the versions, in a line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_cpu()}, no GPU"
    cpus = len(os.sched_getaffinity(0))
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    there = {"torch": torch.__version__} | {name: _version(name) for name in ("ray", "optuna", "mlflow")}
    versions = ", ".join(f"{package} {found}" for package, found in there.items() if found)
    return (
        f"{platform.node()}: {name}, {cpus} CPUs, {gib:.0f} GiB, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {versions}"
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # the layer of training runs without it
        return None


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def synchronized_time(device: torch.device) -> float:
    """Return the clock's seconds when all that was queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
