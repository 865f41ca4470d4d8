"""Decide, before anything is started, how many lanes a sweep gets, and how many workers each lane has."""

from mdr_tune.cluster.machine import Machine, workers_on_a_gpu
from mdr_tune.config.arms import arms, main_arm
from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import count, cpus_and_gpus

TRIALS_PER_LANE = 4
"""Smallest number of trials for each lane with `lanes: auto`, so that the sampler can learn from earlier trials."""
TRIALS_PER_LANE_PREFERRED = 8
"""Number of trials for each lane that `workers_per_trial: auto` aims at, since the sampler learns from earlier trials.
If the lanes would have fewer trials, it makes fewer lanes with more workers each."""
IMAGES_PER_WORKER = 32
"""Smallest number of a batch's images for each worker with `workers_per_trial: auto`. With fewer images, a worker would
spend more time on waiting for the others than on computing."""


def fit_lanes(sweep: SweepConfig, machine: Machine, keeps_workers: bool = False) -> LaneResources:
    """Return the number of lanes and workers that `sweep` gets on `machine`, and their resources.

    `keeps_workers` means that the sweep is resumed, so that the error does not advise another number of workers.

    Raises:
        UserError: The lanes or workers do not fit. The message says how many would fit.
    """
    wanted = sweep.resources
    gpus_per_worker = _gpus_per_worker(sweep, machine)
    workers = workers_per_trial(sweep, machine)
    places = [
        node.worker_places(wanted.cpus_per_worker, gpus_per_worker, wanted.accelerator_type)
        for node in machine.possible_nodes()
    ]
    fitting = sum(places) // workers
    if fitting == 0:
        raise UserError(_too_many_workers(sweep, machine, workers, gpus_per_worker, keeps_workers))
    if wanted.lanes == "auto":
        lanes = min(fitting, _useful_lanes(sweep, TRIALS_PER_LANE))
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
        workers_on_a_node=min(lanes * workers, max(places)),
        system_metrics=wanted.system_metrics,
    )


def with_workers(sweep: SweepConfig, workers: int) -> SweepConfig:
    """Return `sweep` with `workers` as its `workers_per_trial`, so that `auto` is not chosen anew on a resume."""
    resources = sweep.resources.model_copy(update={"workers_per_trial": workers})
    return sweep.model_copy(update={"resources": resources})


def workers_per_trial(sweep: SweepConfig, machine: Machine) -> int:
    """Return the number of workers of a trial of `sweep`; for `auto`, the number that uses the most of `machine`.

    `auto` makes no lane that the sweep cannot use, gives each worker at least IMAGES_PER_WORKER images of a batch, and
    keeps a trial's workers on one node, unless the placement is `spread`. If several numbers use equally much of the
    machine, it prefers those that leave TRIALS_PER_LANE_PREFERRED trials for each lane of a search, since the sampler
    learns from a trial before the next one begins. Of these numbers it takes the smallest one, since exchanging
    gradients costs time. If several workers share a GPU, `auto` is 1.
    """
    wanted = sweep.resources
    if wanted.workers_per_trial != "auto":
        return wanted.workers_per_trial
    if wanted.shares_gpus:
        return 1
    gpus = _gpus_per_worker(sweep, machine)
    nodes = machine.possible_nodes()
    places = [node.worker_places(wanted.cpus_per_worker, gpus, wanted.accelerator_type) for node in nodes]
    if wanted.placement == "spread":
        places = [sum(places)]
    most_lanes = _useful_lanes(sweep, TRIALS_PER_LANE) if wanted.lanes == "auto" else wanted.lanes
    preferred = _useful_lanes(sweep, TRIALS_PER_LANE_PREFERRED)

    def worth(workers: int) -> tuple[int, ...]:
        lanes = min(most_lanes, sum(node // workers for node in places))
        return 0 if wanted.lanes == "auto" else lanes, lanes * workers, min(0, preferred - lanes), -workers

    most = max(1, min(max(places), _smallest_batch(sweep) // IMAGES_PER_WORKER))
    return max(range(1, most + 1), key=worth)


def workers_note(sweep: SweepConfig, lanes: LaneResources, machine: Machine) -> list[str]:
    """Return a note that says which number of workers `auto` has become for `lanes` on `machine`, and why.

    The list is empty if `sweep` has a number in place of `auto`.
    """
    if sweep.resources.workers_per_trial != "auto":
        return []
    each = cpus_and_gpus(lanes.cpus_per_worker, lanes.gpus_per_worker)
    there = machine.worker_places(lanes.cpus_per_worker, lanes.gpus_per_worker, lanes.accelerator_type)
    used = lanes.num_lanes * lanes.workers_per_lane
    if sweep.resources.shares_gpus:
        why = "workers of one trial do not share a GPU"
        return [f"resources.workers_per_trial: auto is 1 here, and stays so on --resume: {why}"]
    limits = f": a worker has at least {IMAGES_PER_WORKER} images, or all of a smaller batch"
    return [
        f"resources.workers_per_trial: auto is {lanes.workers_per_lane} here, and stays so on --resume: there is room "
        f"for {count(there, 'worker')} with {each}, and the sweep uses {used}{limits if used < there else ''}"
    ]


def placement_notes(lanes: LaneResources, machine: Machine) -> list[str]:
    """Return notes for the user on the nodes and kinds of GPUs of `machine` that the workers of `lanes` will run on."""
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
    if 0 < lanes.gpus_per_worker < 1:
        on_one = workers_on_a_gpu(lanes.gpus_per_worker)
        notes.append(
            f"resources.gpus_per_worker: {lanes.gpus_per_worker:g} lets up to {on_one} trials compute on one GPU at a "
            "time: each is slower than alone, and nothing divides the GPU's memory"
        )
    kinds = sorted({node.accelerator for node in machine.possible_nodes() if node.gpus and node.accelerator})
    if lanes.gpus_per_worker and len(kinds) > 1 and lanes.accelerator_type is None:
        notes.append(
            f"the cluster has several kinds of GPUs ({', '.join(kinds)}): a trial on both goes at the pace of "
            f"the slower, and times are not comparable; choose one with resources.accelerator_type: {kinds[0]}"
        )
    return notes


def _gpus_per_worker(sweep: SweepConfig, machine: Machine) -> float:
    wanted = sweep.resources.gpus_per_worker
    return (1 if machine.gpus else 0) if wanted == "auto" else wanted


def _smallest_batch(sweep: SweepConfig) -> int:
    return min(int(batch.size) for batch in section_variants(sweep.trial, sweep.space, "batch"))


def _useful_lanes(sweep: SweepConfig, trials_per_lane: int) -> int:
    """Return the number of lanes that `sweep` can use.

    All trials of an ablation may run side by side. A search learns from earlier trials, so each lane should have
    `trials_per_lane` trials.
    """
    if sweep.is_ablation:
        return max(arm.trials for arm in arms(sweep)) * sweep.num_repeats
    there_are = main_arm(sweep).configurations
    trials = sweep.search.trials if there_are is None else min(sweep.search.trials, there_are)
    return max(1, trials // trials_per_lane)


def _too_many_workers(sweep: SweepConfig, machine: Machine, workers: int, gpus_per_worker: float, keeps: bool) -> str:
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
        "go on where they fit, since another number of workers rounds differently, or launch it anew"
        if keeps and most
        else f"set it to at most {most} (--set resources.workers_per_trial={most})"
        if most
        else "lower resources.cpus_per_worker or resources.gpus_per_worker"
    )
    more = " or raise max_workers in the cluster's file" if machine.coming else ""
    return (
        f"resources.workers_per_trial: {count(workers, 'worker')} with {each} each do not fit on "
        f"{_what_there_is(sweep, machine)}; {fix}{more}"
    )


def _what_there_is(sweep: SweepConfig, machine: Machine) -> str:
    only = f" on nodes with {sweep.resources.accelerator_type}" if sweep.resources.accelerator_type else ""
    return f"{machine.description} ({machine.describe()}{only})"
