"""The resources of a sweep's lanes. Needs no Ray, so that a plan can be made without it."""

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
    """GPUs of each worker: 0, 1, or a share if several lanes use a GPU."""
    max_restarts: int
    """How often a lane may lose a worker and start anew."""
    stuck_worker_timeout_s: float
    """Time that the other workers of a lane have to reply after one failed."""
    stalled_worker_timeout_s: float = 600.0
    """Longest time that all workers of a lane may go without a step or an evaluated batch."""
    placement: Literal["pack", "spread"] = "pack"
    """Whether the workers of a lane are placed on as few nodes as possible (pack), or on as many (spread)."""
    accelerator_type: str | None = None
    """Ray's name of the GPU that the workers' nodes must have; None for any."""
    workers_on_a_node: int = 1
    """Largest number of workers, of all lanes, on one node; they share its CPUs for decoding images."""

    @property
    def needs(self) -> str:
        """Resources of a lane's workers in words, such as `2 workers with 1 CPU and 1 GPU each`."""
        gpu = f"{self.accelerator_type} GPU" if self.accelerator_type else "GPU"
        each = cpus_and_gpus(self.cpus_per_worker, self.gpus_per_worker, gpu)
        return f"{count(self.workers_per_lane, 'worker')} with {each} each" if self.workers_per_lane > 1 else each
