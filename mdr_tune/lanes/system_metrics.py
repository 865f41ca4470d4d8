"""Measure the machine of a lane's workers: CPU, memory, disk, network and GPUs, under MLflow's own names.

A worker measures in a thread and tells the hub; the driver writes to MLflow. The numbers come from the operating system
and NVIDIA's driver, so that nothing waits for the GPU.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

EVERY_S = 10.0
MEGABYTE = 1e6


@dataclass(frozen=True)
class Measurement:
    """Measurement by one worker: values of its `node` (Ray's id) and of its own GPU, by MLflow's names.

    The names in `gpu` lack the number of the GPU: `utilization_percentage`.
    """

    node: str
    of_node: Mapping[str, float]
    of_gpu: Mapping[str, float]


class Machine:
    """Measures the machine of this process, and the GPU with the CUDA UUID `gpu_uuid`, if it is not None.

    CPU use is that since the last call of `measure` in the same thread, as psutil counts it, and network traffic that
    since this object was made in it.
    """

    def __init__(self, node: str, gpu_uuid: str | None = None) -> None:
        self._node = node
        psutil.cpu_percent()  # the first call starts the count
        self._network = psutil.net_io_counters()
        self._gpu = None if gpu_uuid is None else _Gpu(gpu_uuid)

    def measure(self) -> Measurement:
        """Return the values of now."""
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(os.sep)
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / MEGABYTE,
            "disk_available_megabytes": disk.free / MEGABYTE,
        }
        network = psutil.net_io_counters()
        if network is not None and self._network is not None:  # None where there is no network
            values["network_receive_megabytes"] = (network.bytes_recv - self._network.bytes_recv) / MEGABYTE
            values["network_transmit_megabytes"] = (network.bytes_sent - self._network.bytes_sent) / MEGABYTE
        return Measurement(self._node, values, {} if self._gpu is None else self._gpu.measure())


class _Gpu:
    """Asks NVIDIA's driver for the use of the GPU with the CUDA UUID `uuid`. Nothing is measured if it does not know.

    A part of a GPU (MIG) has no use of its own to the driver, and other makers' GPUs are not known to it.
    """

    def __init__(self, uuid: str) -> None:
        from mdr_tune.lanes.ray_seams import nvidia_driver

        self._driver = nvidia_driver()
        self._handle: Any = None
        try:
            self._driver.nvmlInit()
            self._handle = self._driver.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        except self._driver.NVMLError:
            pass

    def measure(self) -> dict[str, float]:
        if self._handle is None:
            return {}
        driver = self._driver
        try:
            memory = driver.nvmlDeviceGetMemoryInfo(self._handle)
            return {
                "utilization_percentage": float(driver.nvmlDeviceGetUtilizationRates(self._handle).gpu),
                "memory_usage_percentage": 100 * memory.used / memory.total,
                "memory_usage_megabytes": memory.used / MEGABYTE,
                "power_usage_watts": driver.nvmlDeviceGetPowerUsage(self._handle) / 1000,
            }
        except driver.NVMLError:
            return {}


class SystemWatch:
    """Context manager that calls `report` with a measurement every `every_s` seconds, in a thread.

    `machine` makes the object that measures, in this thread.
    """

    def __init__(
        self, machine: Callable[[], Machine], report: Callable[[Measurement], object], every_s: float = EVERY_S
    ) -> None:
        self._machine, self._report, self._every_s = machine, report, every_s
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-metrics", daemon=True)

    def __enter__(self) -> "SystemWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def _run(self) -> None:
        machine = self._machine()
        while not self._left.wait(self._every_s):
            self._report(machine.measure())


def named(workers: Sequence[Measurement]) -> dict[str, float]:
    """Return the measurements of a lane's `workers`, in rank order, under the names that MLflow gives them.

    Each node counts once. With several nodes, a name begins with that of its node, `node_0/`.
    """
    nodes = list(dict.fromkeys(worker.node for worker in workers))
    found: dict[str, float] = {}
    for number, node in enumerate(nodes):
        prefix = f"node_{number}/" if len(nodes) > 1 else ""
        here = [worker for worker in workers if worker.node == node]
        found |= {f"{prefix}{name}": value for name, value in here[0].of_node.items()}
        for gpu, worker in enumerate(here):
            found |= {f"{prefix}gpu_{gpu}_{name}": value for name, value in worker.of_gpu.items()}
    return found
