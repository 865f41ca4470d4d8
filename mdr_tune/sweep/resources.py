"""How many lanes fit on what there is, decided before anything is started."""

import os
from dataclasses import dataclass
from pathlib import Path

from mdr_tune.config.arms import arms
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.errors import UserError
from mdr_tune.lanes.resources import LaneResources
from mdr_tune.words import count

GPU_DRIVERS = ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""What is there where torch may find a GPU: NVIDIA's driver, AMD's, and Windows' in WSL."""
TRIALS_PER_LANE = 4
"""`lanes: auto` leaves the sampler at least this many rounds to learn from."""


@dataclass(frozen=True)
class Machine:
    """CPUs and GPUs of this machine, or of a cluster in all."""

    cpus: int
    gpus: int
    description: str
    nodes: tuple[tuple[int, int], ...] = ()
    """(CPUs, GPUs) of each node; empty for a single machine. A worker cannot be split between nodes."""

    def worker_places(self, cpus: int, gpus: int) -> int:
        """Return how many workers of that many CPUs and GPUs fit."""
        nodes = self.nodes or ((self.cpus, self.gpus),)
        return sum(min(node[0] // cpus, node[1] // gpus if gpus else node[0] // cpus) for node in nodes)


def this_machine() -> Machine:
    """Return what this process may use of the machine it runs on."""
    return Machine(len(os.sched_getaffinity(0)), _gpus(), "this machine")


def _gpus() -> int:
    """Count the CUDA devices; torch, which takes a second to import, is asked only where there is a driver."""
    if not any(Path(driver).exists() for driver in GPU_DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()


def cluster() -> Machine:
    """Return the resources of the Ray cluster that this process is connected to."""
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = tuple((int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in alive)
    cpus, gpus = (sum(column) for column in zip(*nodes, strict=True))
    return Machine(cpus, gpus, f"the cluster of {count(len(nodes), 'node')}", nodes)


def fit_lanes(sweep: SweepConfig, machine: Machine) -> LaneResources:
    """Return the lanes of this sweep on this machine.

    Raises:
        UserError: They do not fit; the text says what would.
    """
    wanted = sweep.resources
    gpus_per_worker = (1 if machine.gpus else 0) if wanted.gpus_per_worker == "auto" else wanted.gpus_per_worker
    workers = wanted.workers_per_trial
    fitting = machine.worker_places(wanted.cpus_per_worker, gpus_per_worker) // workers
    if fitting == 0:
        raise UserError(_too_many_workers(sweep, machine, gpus_per_worker))
    if wanted.lanes == "auto":
        lanes = max(1, min(fitting, _useful_lanes(sweep)))
    elif wanted.lanes > fitting:
        raise UserError(
            f"resources.lanes: {wanted.lanes} lanes of {workers} workers do not fit on {machine.description} "
            f"({machine.cpus} CPUs, {machine.gpus} GPUs): at most {fitting}, or set it to auto"
        )
    else:
        lanes = wanted.lanes
    return LaneResources(
        num_lanes=lanes,
        workers_per_lane=workers,
        cpus_per_worker=wanted.cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        max_restarts=wanted.lane_restarts,
        stuck_worker_timeout_s=wanted.stuck_worker_timeout_s,
        stalled_worker_timeout_s=wanted.stalled_worker_timeout_s,
    )


def _useful_lanes(sweep: SweepConfig) -> int:
    """Return how many trials may well run side by side: all of an ablation's; of a search, that learns from those that
    came before, fewer."""
    if sweep.is_ablation:
        return max(arm.trials for arm in arms(sweep)) * len(sweep.training_seeds)
    return sweep.search.trials // TRIALS_PER_LANE


def _too_many_workers(sweep: SweepConfig, machine: Machine, gpus_per_worker: int) -> str:
    wanted, has = sweep.resources, f"{machine.description} has {machine.cpus} CPUs and {machine.gpus} GPUs"
    each = count(wanted.cpus_per_worker, "CPU") + (f" and {count(gpus_per_worker, 'GPU')}" if gpus_per_worker else "")
    most = machine.worker_places(wanted.cpus_per_worker, gpus_per_worker)
    fix = (
        f"set it to at most {most} (--set resources.workers_per_trial={most})"
        if most
        else "lower resources.cpus_per_worker or resources.gpus_per_worker"
    )
    return f"resources.workers_per_trial: {wanted.workers_per_trial} workers with {each} each do not fit: {has}; {fix}"
