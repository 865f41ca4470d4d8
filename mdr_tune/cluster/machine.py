"""What there is to compute on: this machine, or the nodes of a cluster and those that it may still get."""

from dataclasses import dataclass
from pathlib import Path

from mdr_tune.util.cpus import usable_cpus
from mdr_tune.util.words import count

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""By what a machine reaches itself alone."""
GPU_DRIVERS = ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""What is there where torch may find a GPU: NVIDIA's driver, AMD's, and Windows' in WSL."""


def workers_on_a_gpu(share: float) -> int:
    """Return how many workers with this share of a GPU, above 0, fit on one. Ray counts in ten-thousandths."""
    return 10_000 // round(10_000 * share)


@dataclass(frozen=True)
class Node:
    """One node of a cluster."""

    cpus: int
    gpus: int
    accelerator: str | None = None
    """Its GPU, by Ray's name, such as A10G."""
    address: str = ""

    def worker_places(self, cpus: int, gpus: float, accelerator: str | None = None) -> int:
        """Return how many workers of that many CPUs and GPUs fit; none if it has not the GPU that is asked for.

        Args:
            cpus: Of a worker.
            gpus: Of a worker: 0, 1, or a share of one, which is not put together from two GPUs.
            accelerator: Kind of the GPU; None is any.
        """
        if accelerator is not None and accelerator != self.accelerator:
            return 0
        if not gpus:
            return self.cpus // cpus
        return min(self.cpus // cpus, self.gpus * workers_on_a_gpu(gpus))


@dataclass(frozen=True)
class ComingNodes:
    """Nodes of one kind that the autoscaler may still add.

    Attributes:
        name: Of the node type, in the cluster's file.
        count: How many at most.
        node: What one of them has.
    """

    name: str
    count: int
    node: Node

    def __str__(self) -> str:
        gpus = f", {count(self.node.gpus, 'GPU')}" if self.node.gpus else ""
        return f"{self.count} {self.name} ({count(self.node.cpus, 'CPU')}{gpus} each)"


@dataclass(frozen=True)
class Machine:
    """This machine, or a cluster.

    Attributes:
        cpus: In all, those that may come included.
        gpus: The same.
        description: In words.
        nodes: Of a cluster; empty for a single machine. A worker cannot be split between nodes.
        coming: What a cluster may still get.
    """

    cpus: int
    gpus: int
    description: str
    nodes: tuple[Node, ...] = ()
    coming: tuple[ComingNodes, ...] = ()

    def worker_places(self, cpus: int, gpus: float, accelerator: str | None = None) -> int:
        """Return how many workers of that many CPUs and GPUs fit; arguments as of `Node.worker_places`."""
        return sum(node.worker_places(cpus, gpus, accelerator) for node in self.possible_nodes())

    def possible_nodes(self) -> list[Node]:
        """Return all nodes, those that may come included."""
        there = self.nodes or (Node(self.cpus, self.gpus),)
        return [*there, *(kind.node for kind in self.coming for _ in range(kind.count))]

    def describe(self) -> str:
        """Return what it has, and what may come."""
        if not self.coming:
            return f"{count(self.cpus, 'CPU')}, {count(self.gpus, 'GPU')}"
        cpus, gpus = (sum(column) for column in zip(*((node.cpus, node.gpus) for node in self.nodes), strict=True))
        return f"{count(cpus, 'CPU')}, {count(gpus, 'GPU')}; may come: {', '.join(map(str, self.coming))}"


def this_machine() -> Machine:
    """Return what this process may use of the machine it runs on."""
    return Machine(usable_cpus(), _gpus(), "this machine")


def _gpus() -> int:
    """Count the CUDA devices; torch, which takes a second to import, is asked only where there is a driver."""
    if not any(Path(driver).exists() for driver in GPU_DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()
