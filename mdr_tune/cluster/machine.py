"""The CPUs and GPUs to compute on, of this machine or of a cluster and the nodes that may still join the cluster."""

from dataclasses import dataclass
from pathlib import Path

from mdr_tune.util.cpus import usable_cpus
from mdr_tune.util.words import count

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses by which a machine reaches only itself."""
GPU_DRIVERS = ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""Files of the drivers of NVIDIA, of AMD, and of Windows in WSL. Without any of them, torch finds no GPU."""


def workers_on_a_gpu(share: float) -> int:
    """Return how many workers fit on a GPU if each takes this `share` (above 0). Ray rounds it to ten-thousandths."""
    return 10_000 // round(10_000 * share)


@dataclass(frozen=True)
class Node:
    """One node of a cluster, with its number of CPUs and GPUs.

    Attributes:
        accelerator: Ray's name of the kind of GPU, such as A10G; None if it is unknown or the node has no GPU.
        address: IP address of the node; empty if it is not known.
    """

    cpus: int
    gpus: int
    accelerator: str | None = None
    address: str = ""

    def worker_places(self, cpus: int, gpus: float, accelerator: str | None = None) -> int:
        """Return how many workers fit on the node, each with `cpus` CPUs and `gpus` GPUs of the kind `accelerator`.

        `gpus` is 0, 1, or a share of a single GPU. If `accelerator` is None, any kind of GPU will do.
        """
        if accelerator is not None and accelerator != self.accelerator:
            return 0
        if not gpus:
            return self.cpus // cpus
        return min(self.cpus // cpus, self.gpus * workers_on_a_gpu(gpus))


@dataclass(frozen=True)
class ComingNodes:
    """Up to `count` nodes of the type `name` that the autoscaler may still add, with CPUs and GPUs as in `node`."""

    name: str
    count: int
    node: Node

    def __str__(self) -> str:
        gpus = f", {count(self.node.gpus, 'GPU')}" if self.node.gpus else ""
        return f"{self.count} {self.name} ({count(self.node.cpus, 'CPU')}{gpus} each)"


@dataclass(frozen=True)
class Machine:
    """The CPUs and GPUs that a sweep can use: those of this machine, or of a cluster's `nodes` and `coming` nodes.

    `cpus` and `gpus` are the totals, with those of `coming` nodes. `description` names the machine or cluster, such as
    `this machine`. A single machine has no `nodes`.
    """

    cpus: int
    gpus: int
    description: str
    nodes: tuple[Node, ...] = ()
    coming: tuple[ComingNodes, ...] = ()

    def worker_places(self, cpus: int, gpus: float, accelerator: str | None = None) -> int:
        """Return how many workers fit on all possible nodes. For the arguments, see `Node.worker_places`."""
        return sum(node.worker_places(cpus, gpus, accelerator) for node in self.possible_nodes())

    def possible_nodes(self) -> list[Node]:
        """Return all nodes, including those that may still join."""
        there = self.nodes or (Node(self.cpus, self.gpus),)
        return [*there, *(kind.node for kind in self.coming for _ in range(kind.count))]

    def describe(self) -> str:
        """Return words for the present CPUs and GPUs and for the nodes that may still join: `8 CPUs, 1 GPU`."""
        if not self.coming:
            return f"{count(self.cpus, 'CPU')}, {count(self.gpus, 'GPU')}"
        cpus, gpus = (sum(column) for column in zip(*((node.cpus, node.gpus) for node in self.nodes), strict=True))
        return f"{count(cpus, 'CPU')}, {count(gpus, 'GPU')}; may come: {', '.join(map(str, self.coming))}"


def this_machine() -> Machine:
    """Return the machine that this process runs on, with the CPUs and GPUs that the process may use."""
    return Machine(usable_cpus(), _gpus(), "this machine")


def _gpus() -> int:
    """Return the number of CUDA devices. torch is imported, which takes a second, only if there is a GPU driver."""
    if not any(Path(driver).exists() for driver in GPU_DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()
