"""What was measured on, and its clock."""

import os
import platform
import time
from pathlib import Path

import torch


def machine(device: torch.device) -> str:
    """Return the host, the device and the versions, in a line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_cpu()}, no GPU"
    cpus = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return (
        f"{platform.node()}: {name}, {cpus} CPUs, {torch.get_num_threads()} threads, load {load:.1f}, "
        f"torch {torch.__version__}"
    )


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
