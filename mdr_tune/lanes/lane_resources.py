"""What the lanes of a sweep are made of. Light, so that a plan can be made without Ray."""

from dataclasses import dataclass
from typing import Literal

from mdr_tune.util.words import count, cpus_and_gpus


@dataclass(frozen=True)
class LaneResources:
    """Number of lanes, and what each of their workers gets."""

    num_lanes: int
    workers_per_lane: int
    cpus_per_worker: int
    gpus_per_worker: float
    """0, 1, or a share of a GPU that several lanes use."""
    max_restarts: int
    """How often one lane may lose a worker and start anew."""
    stuck_worker_timeout_s: float
    """When one worker failed: how long the others may stay silent."""
    stalled_worker_timeout_s: float = 600.0
    """How long all workers may go without a step or an evaluated batch."""
    placement: Literal["pack", "spread"] = "pack"
    """The workers of a lane on as few nodes as possible, or on as many."""
    accelerator_type: str | None = None
    """Only on nodes with this GPU, by Ray's name of it."""
    workers_on_a_node: int = 1
    """The most workers, of all lanes, that one node may have: they share its CPUs for decoding images."""

    @property
    def needs(self) -> str:
        """What a lane's workers need, in words."""
        gpu = f"{self.accelerator_type} GPU" if self.accelerator_type else "GPU"
        each = cpus_and_gpus(self.cpus_per_worker, self.gpus_per_worker, gpu)
        return f"{count(self.workers_per_lane, 'worker')} with {each} each" if self.workers_per_lane > 1 else each
