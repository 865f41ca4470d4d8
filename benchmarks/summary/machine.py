"""What was measured on, and its clock."""

import os
import platform
import time

import torch

from mdr_tune.records.provenance import cpu, versions

PACKAGES = ("torch", "ray", "optuna", "mlflow")
"""Whose versions are said, where they are installed: the layer of training runs with torch alone."""


def machine(device: torch.device) -> str:
    """Return the host, the device and the versions, in a line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{cpu()}, no GPU"
    cpus = len(os.sched_getaffinity(0))
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    there = versions() | {"torch": torch.__version__}  # the latter with its build
    packages = ", ".join(f"{package} {there[package]}" for package in PACKAGES if there[package])
    return (
        f"{platform.node()}: {name}, {cpus} CPUs, {gib:.0f} GiB, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f}; Python {there['python']}, {packages}"
    )


def synchronized_time(device: torch.device) -> float:
    """Return the clock's seconds when all that was queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
