"""The resources of a sweep's lanes. This module does not import Ray, so that a plan can be made without it."""

from dataclasses import dataclass
from typing import Literal

from mdr_tune.util.words import count, cpus_and_gpus


@dataclass(frozen=True)
class LaneResources:
    """Number of lanes, and resources and time limits of their workers."""

    num_lanes: int
    workers_per_lane: int
    cpus_per_worker: int
    gpus_per_worker: float
    """Number of GPUs of each worker: 0, 1, or a fraction if several lanes share a GPU."""
    max_restarts: int
    """Number of times that a lane may lose a worker and be restarted. At the next loss, the lane is given up."""
    stuck_worker_timeout_s: float
    """Seconds in which a lane's other workers must reply after one failed. If they do not, the lane is restarted."""
    stalled_worker_timeout_s: float = 600.0
    """Seconds after which a lane restarts if no worker of it completes a training step or evaluates a batch."""
    placement: Literal["pack", "spread"] = "pack"
    """`pack`: a lane's workers are on as few nodes as possible. `spread`: they are on as many nodes as possible."""
    accelerator_type: str | None = None
    """Ray's name of the kind of GPU that the workers need; None if any kind will do."""
    workers_on_a_node: int = 1
    """Largest number of workers on one node, counting all lanes. They share the node's CPUs when they decode images."""

    system_metrics: bool = True
    """Whether the workers measure their machine: CPU, memory, disk, network and GPUs."""

    @property
    def needs(self) -> str:
        """The resources of a lane in words, such as `2 workers with 1 CPU and 1 GPU each`."""
        gpu = f"{self.accelerator_type} GPU" if self.accelerator_type else "GPU"
        each = cpus_and_gpus(self.cpus_per_worker, self.gpus_per_worker, gpu)
        return f"{count(self.workers_per_lane, 'worker')} with {each} each" if self.workers_per_lane > 1 else each
