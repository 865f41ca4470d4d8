"""What was measured on."""

import os
import platform
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
