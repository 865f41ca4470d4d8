"""How many lanes fit on what there is, decided before anything is started."""

from mdr_tune.cluster.machine import Machine
from mdr_tune.config.arms import arms, main_arm
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.errors import UserError
from mdr_tune.lanes.resources import LaneResources
from mdr_tune.words import count, cpus_and_gpus

TRIALS_PER_LANE = 4
"""`lanes: auto` leaves the sampler at least this many rounds to learn from."""


def fit_lanes(sweep: SweepConfig, machine: Machine) -> LaneResources:
    """Return the lanes of this sweep on this machine.

    Raises:
        UserError: They do not fit; the text says what would.
    """
    wanted = sweep.resources
    gpus_per_worker = (1 if machine.gpus else 0) if wanted.gpus_per_worker == "auto" else wanted.gpus_per_worker
    workers = wanted.workers_per_trial
    fitting = machine.worker_places(wanted.cpus_per_worker, gpus_per_worker, wanted.accelerator_type) // workers
    if fitting == 0:
        raise UserError(_too_many_workers(sweep, machine, gpus_per_worker))
    if wanted.lanes == "auto":
        lanes = max(1, min(fitting, _useful_lanes(sweep)))
    elif wanted.lanes > fitting:
        raise UserError(
            f"resources.lanes: {count(wanted.lanes, 'lane')} of {count(workers, 'worker')} do not fit on "
            f"{_what_there_is(sweep, machine)}: at most {fitting}, or set it to auto"
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
        placement=wanted.placement,
        accelerator_type=wanted.accelerator_type,
    )


def placement_notes(lanes: LaneResources, machine: Machine) -> list[str]:
    """Return what a user should know of where the workers of a trial will be."""
    places = [
        node.worker_places(lanes.cpus_per_worker, lanes.gpus_per_worker, lanes.accelerator_type)
        for node in machine.possible_nodes()
    ]
    notes = []
    now, wanted, largest = sum(places[: len(machine.nodes)]), lanes.num_lanes * lanes.workers_per_lane, max(places)
    if machine.coming and now < wanted:
        kinds_to_come = " or ".join(kind.name for kind in machine.coming)
        notes.append(
            f"the nodes that are there have room for {now} of {count(wanted, 'worker')}: the autoscaler will be asked "
            f"for {kinds_to_come}, which may take minutes, and trials begin on the lanes that are up"
        )
    if lanes.placement == "pack" and len(places) > 1 and largest < lanes.workers_per_lane:
        notes.append(
            f"no node has room for the {lanes.workers_per_lane} workers of a trial (at most {largest}): they are on "
            "several, and exchange gradients over the network"
        )
    kinds = sorted({node.accelerator for node in machine.possible_nodes() if node.gpus and node.accelerator})
    if lanes.gpus_per_worker and len(kinds) > 1 and lanes.accelerator_type is None:
        notes.append(
            f"the cluster has several kinds of GPUs ({', '.join(kinds)}): a trial on both goes at the pace of "
            f"the slower, and times are not comparable; choose one with resources.accelerator_type: {kinds[0]}"
        )
    return notes


def _useful_lanes(sweep: SweepConfig) -> int:
    """Return how many trials may well run side by side: all of an ablation's; of a search, that learns from those that
    came before, fewer."""
    if sweep.is_ablation:
        return max(arm.trials for arm in arms(sweep)) * len(sweep.training_seeds)
    there_are = main_arm(sweep).configurations
    trials = sweep.search.trials if there_are is None else min(sweep.search.trials, there_are)
    return trials // TRIALS_PER_LANE


def _too_many_workers(sweep: SweepConfig, machine: Machine, gpus_per_worker: int) -> str:
    wanted = sweep.resources
    kinds = sorted({node.accelerator for node in machine.possible_nodes() if node.accelerator})
    if wanted.accelerator_type is not None and wanted.accelerator_type not in kinds:
        there = f"its GPUs are {', '.join(kinds)}" if kinds else "Ray knows the kind of none of its GPUs"
        return (
            f"resources.accelerator_type: {machine.description} has no {wanted.accelerator_type}, nor may one come; "
            f"{there}"
        )
    each = cpus_and_gpus(wanted.cpus_per_worker, gpus_per_worker)
    most = machine.worker_places(wanted.cpus_per_worker, gpus_per_worker, wanted.accelerator_type)
    fix = (
        f"set it to at most {most} (--set resources.workers_per_trial={most})"
        if most
        else "lower resources.cpus_per_worker or resources.gpus_per_worker"
    )
    more = " or raise max_workers in the cluster's file" if machine.coming else ""
    return (
        f"resources.workers_per_trial: {count(wanted.workers_per_trial, 'worker')} with {each} each do not fit on "
        f"{_what_there_is(sweep, machine)}; {fix}{more}"
    )


def _what_there_is(sweep: SweepConfig, machine: Machine) -> str:
    only = f" on nodes with {sweep.resources.accelerator_type}" if sweep.resources.accelerator_type else ""
    return f"{machine.description} ({machine.describe()}{only})"
