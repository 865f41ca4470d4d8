"""What a worker measures of its machine, and under which names MLflow gets it."""

import queue

import torch

from mdr_tune.lanes.ray_seams import nvidia_driver
from mdr_tune.lanes.system_metrics import Machine, Measurement, SystemWatch, named
from tests.waiting import HANG_S


def test_a_worker_measures_its_machine_in_a_thread() -> None:
    measured: queue.Queue[Measurement] = queue.Queue()
    with SystemWatch(lambda: Machine("node-a"), measured.put, every_s=0.01):
        first = measured.get(timeout=HANG_S)
        while measured.get(timeout=HANG_S).of_node["cpu_utilization_percentage"] == 0:
            torch.rand(200, 200).mm(torch.rand(200, 200))  # the CPU is used
    assert first.node == "node-a"
    assert 0 < first.of_node["system_memory_usage_percentage"] < 100
    assert first.of_node["disk_usage_megabytes"] > 0
    assert first.of_gpu == {}


def test_mlflow_s_names() -> None:
    def worker(node: str, cpu: float, gpu: float) -> Measurement:
        return Measurement(node, {"cpu_utilization_percentage": cpu}, {"utilization_percentage": gpu})

    assert named([worker("a", 50.0, 90.0), worker("a", 51.0, 91.0)]) == {
        "cpu_utilization_percentage": 50.0,
        "gpu_0_utilization_percentage": 90.0,
        "gpu_1_utilization_percentage": 91.0,
    }
    assert named([worker("a", 50.0, 90.0), worker("b", 60.0, 92.0)]) == {
        "node_0/cpu_utilization_percentage": 50.0,
        "node_0/gpu_0_utilization_percentage": 90.0,
        "node_1/cpu_utilization_percentage": 60.0,
        "node_1/gpu_0_utilization_percentage": 92.0,
    }
    assert named([]) == {}


def test_a_gpu_that_the_driver_does_not_know_is_not_measured() -> None:
    assert Machine("a", gpu_uuid="00000000-0000-0000-0000-000000000000").measure().of_gpu == {}


def test_ray_s_copy_of_nvidia_s_module_has_what_is_asked() -> None:
    driver = nvidia_driver()
    asked = ("Init", "DeviceGetHandleByUUID", "DeviceGetMemoryInfo", "DeviceGetUtilizationRates", "DeviceGetPowerUsage")
    assert all(callable(getattr(driver, f"nvml{name}")) for name in asked)
    assert issubclass(driver.NVMLError, Exception)
