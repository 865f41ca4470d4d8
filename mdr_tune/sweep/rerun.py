"""Run a recorded trial again, on one lane with the same number of workers, to compare the metrics of each epoch."""

import contextlib
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mdr_tune.cluster.machine import Machine, this_machine
from mdr_tune.cluster.ray_environment import prepare_environment
from mdr_tune.cluster.ray_start import check_ray_can_start
from mdr_tune.config.strict_model import KeyProblem
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.records.provenance import differences, repeat_info
from mdr_tune.sweep import prepare
from mdr_tune.sweep.lane_layout import fit_lanes
from mdr_tune.sweep.own_components import look_for_recorded_code, own_code
from mdr_tune.sweep.ray_session import ray_session
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress
from mdr_tune.util.user_code import UserCode
from mdr_tune.util.words import count

if TYPE_CHECKING:
    from mdr_tune.tracking.rerun_record import Original


@dataclass(frozen=True)
class RerunPlan:
    """The plan of a rerun, checked before anything is started.

    Attributes:
        original: Recorded trial.
        sweep: Sweep that consists of this one trial, for the functions of `mdr_tune.sweep.prepare`.
        lanes: Resources of the one lane and its workers.
        epochs: Number of epochs to run.
        repeat: Facts that are needed to repeat the rerun, as `repeat_info` returns them, and its device as `device`.
        differences: Lines on what differs between the original run and the rerun, such as versions or the device.
        code: Copy of the user's own modules, for the workers; None if the trial names none.
    """

    original: "Original"
    sweep: SweepConfig
    machine: Machine
    lanes: LaneResources
    epochs: int
    repeat: dict[str, Any]
    differences: list[str]
    code: UserCode | None = None


def plan_rerun(original: "Original", epochs: int | None, command: str, code: str | None = None) -> RerunPlan:
    """Check that the recorded trial `original` can be run again on this machine; return the plan of the rerun.

    `epochs` is the number of epochs to run, or None for all epochs of the original. `command` is the command line that
    the user typed. `code` is the folder of the user's own modules, if they are no longer where the original had them.

    Raises:
        UserError: The trial cannot be run here: its configuration is of another version, data or weights are missing,
            its workers do not fit, Ray cannot start, or the original has fewer epochs than `epochs`.
    """
    if epochs is not None and not 1 <= epochs <= original.epochs:
        raise UserError(f"--epochs {epochs}: {original.name} did {original.epochs}: give a number from 1 to that")
    machine, repeat = this_machine(), original.repeat
    workers, threads = int(repeat["workers"]), int(repeat["threads"])
    gpus = 0 if original.device == "cpu" or not machine.gpus else 1
    look_for_recorded_code((repeat.get("code") or {}).get("folder"), code)
    sweep = _sweep_of(original, workers, threads, gpus)
    own = own_code(sweep)
    _check_fits(original, machine, gpus)
    check_ray_can_start()
    problems = prepare.missing_data(sweep)
    if problems:
        raise UserError("\n".join(f"{original.run_id}: {problem}" for problem in problems))
    try:
        prepare.check_weights(sweep)
        prepare.check_data(sweep)
    except UserError as error:
        raise UserError(f"{original.run_id}: {error}") from error
    device = _gpu_name() if gpus else "cpu"
    now = {**repeat_info(repeat["config"], workers, threads, command, own), "device": device}
    return RerunPlan(
        original=original,
        sweep=sweep,
        machine=machine,
        lanes=fit_lanes(sweep, machine),
        epochs=epochs or original.epochs,
        repeat=now,
        differences=differences({**repeat, "device": original.device}, now),
        code=own,
    )


def _sweep_of(original: "Original", workers: int, threads: int, gpus: int) -> SweepConfig:
    """Return a sweep of the trial `original` alone, on a lane of `workers` with `threads` CPUs and `gpus` GPUs each."""
    resources = {
        "workers_per_trial": workers,
        "cpus_per_worker": threads,
        "gpus_per_worker": gpus,
        "lanes": 1,
        "lane_restarts": 0,
    }
    trial = original.repeat["config"]
    try:
        return SweepConfig.model_validate({"name": "rerun", "trial": trial, "resources": resources})
    except ValidationError as error:
        problem = error.errors()[0]
        if isinstance(cause := problem.get("ctx", {}).get("error"), KeyProblem):  # the user's own code
            raise UserError(f"{original.run_id}: {cause}") from None
        key = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("<"))
        version = original.repeat.get("versions", {}).get("mdr_tune")
        raise UserError(
            f"{original.run_id}: this version does not take the trial's configuration ({key}: {problem['msg']}). "
            f"It was recorded by mdr_tune {version}, commit {(original.repeat.get('source') or {}).get('commit')}: "
            "run that one"
        ) from None


def _check_fits(original: "Original", machine: Machine, gpus: int) -> None:
    workers, threads = original.repeat["workers"], original.repeat["threads"]
    if machine.worker_places(threads, gpus) < workers:
        each = count(threads, "CPU") + (f" and {count(gpus, 'GPU')}" if gpus else "")
        raise UserError(
            f"{original.run_id}: {original.name} ran on {count(workers, 'worker')}, which need {each} each; "
            f"{machine.description} has {machine.cpus} CPUs and {machine.gpus} GPUs. Run it where they fit: another "
            "number of workers rounds differently"
        )


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name(0)


def prepare_rerun(plan: RerunPlan, stage: Callable[[str], None], progress: Progress) -> str | None:
    """Prepare weights and images of `plan`; return a line if the images differ from those of the original run.

    The result is None if they do not differ, or if the hash of the original images is not known. `stage` is called with
    each step that takes a while, `progress` while images are prepared.

    Raises:
        UserError: The weights or the images cannot be obtained.
    """
    try:
        prepare.prepare_weights(plan.sweep, stage)
        prepare.prepare_data(plan.sweep, progress)
    except UserError as error:
        raise UserError(f"{plan.original.run_id}: {error}") from error
    from mdr_tune.data import dataset_content

    data = plan.sweep.trial.data
    then = plan.original.image_content
    if then is None or then == dataset_content(data):
        return None
    return f"images: the files of {data.name}, their labels or the split are not those of then"


@contextlib.contextmanager
def running_lane(plan: RerunPlan, tell: Callable[[str], None]) -> Iterator[Any]:
    """Start Ray and `plan`'s lane, yield the hub that leases it, and stop all afterwards; `tell` gets lines to show."""
    prepare_environment()
    with (
        tempfile.TemporaryDirectory(prefix="mdr_tune_rerun_") as folder,
        ray_session(None, plan.machine.cpus),
    ):
        from mdr_tune.lanes.lane import Lanes
        from mdr_tune.sweep.watch import LaneWatch

        lanes = Lanes(plan.lanes, f"rerun-{plan.original.run_id}", Path(folder), code=plan.code)
        try:
            with LaneWatch(lanes.hub, 1, plan.lanes.needs, tell):
                yield lanes.hub
        finally:
            lanes.stop()


def run_epochs(plan: RerunPlan, hub: Any) -> Generator[dict[str, float]]:
    """Train the trial of `plan` on the lane of `hub`; yield the metrics of each epoch, with its number as `epoch`.

    The lane is released when the generator ends, so the caller must close the generator if it stops earlier.

    Raises:
        TrialFailed, LaneLost, LaneEnded: The trial failed, or its lane was lost, before the last epoch.
    """
    import ray

    from mdr_tune.lanes.hub import unwrap

    holder = f"rerun-of-{plan.original.name}"

    def submit(kind: str, payload: dict[str, Any]) -> Any:
        return unwrap(ray.get(hub.submit.remote(holder, kind, payload)))

    unwrap(ray.get(hub.lease.remote(holder)))
    try:
        submit("start", {"trial": plan.sweep.trial.model_dump(), "checkpoint": None})
        for _ in range(plan.epochs):
            metrics = submit("epoch", {})
            yield {key: float(value) for key, value in metrics.items() if key == "epoch" or "/" in key}
    finally:
        ray.get(hub.release.remote(holder))
