"""A launch as a whole: the sweep, its MLflow runs, the registered champion. What `launch.py` calls."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdr_tune import __version__
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.errors import UserError
from mdr_tune.records import SweepResult
from mdr_tune.report.summary import gains, markdown, verdict
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.prepare import naming, prepare_weights
from mdr_tune.sweep.run import LaunchListener, RunListener, run_sweep, running_lanes
from mdr_tune.sweep.stores import without_password
from mdr_tune.words import count

if TYPE_CHECKING:
    from mdr_tune.tracking.champion import Registration
    from mdr_tune.tracking.tracker import Tracker


@dataclass(frozen=True)
class LaunchOutcome:
    """What came out, and where it is.

    Attributes:
        parent_run_id: The MLflow run of the launch.
        champion: The winner's place in the registry, None without a winner.
    """

    result: SweepResult
    experiment_id: str
    parent_run_id: str
    champion: "Registration | None"
    problem: str | None = None
    """What MLflow did not take; the result itself stands."""


def load_command(plan: Plan) -> str:
    """Return the lines that load the champion in a fresh process."""
    return plan.stores.load_command(f"{plan.sweep.name}@champion")


def run_and_track(
    plan: Plan, status: LaunchListener, command: str, show: Callable[[LaunchOutcome], None]
) -> LaunchOutcome:
    """Run the plan, tell `status` and MLflow, register the winner.

    Args:
        command: What the user typed, for the record.
        show: Called with the outcome as soon as it is recorded, before the lanes and Ray are stopped.

    Raises:
        UserError: Weights cannot be had, the experiment not be opened, or the data set not be read.
    """
    with naming(plan.file):
        prepare_weights(plan.sweep, status.stage)
    lanes = plan.lanes
    where = "starting Ray" if plan.address is None else f"joining {plan.address}"
    status.stage(f"{where}, then {count(lanes.num_lanes, 'lane')} of {count(lanes.workers_per_lane, 'worker')}")
    with running_lanes(plan, status.progress) as hub:
        from mdr_tune.sweep.watch import LaneWatch

        status.stage("opening the MLflow store")
        tracker = _open_tracker(plan, command)
        try:
            with LaneWatch(hub, plan.lanes.num_lanes, status.stage):
                result = run_sweep(plan, hub, [tracker, status])
        except BaseException as error:
            tracker.close("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        outcome = _record_result(plan, result, tracker, status)
        show(outcome)
    return outcome


def _record_result(plan: Plan, result: SweepResult, tracker: "Tracker", status: RunListener) -> LaunchOutcome:
    """Register the winner and close the parent run. If MLflow fails now, the outcome says so: nothing is lost."""
    champion, problem = None, None
    try:
        champion = _register_winner(plan, result, tracker, status)
        tracker.describe(markdown(result, load_command(plan) if champion else None), gains(result))
        tracker.close("KILLED" if result.interrupted else "FINISHED" if result.winner else "FAILED")
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    return LaunchOutcome(result, tracker.experiment_id, tracker.parent_run_id, champion, problem)


def _open_tracker(plan: Plan, command: str) -> "Tracker":
    """Open the MLflow experiment and its parent run."""
    import mlflow
    from mlflow import MlflowClient

    from mdr_tune.tracking.tracker import Tracker, open_experiment

    mlflow.set_tracking_uri(plan.stores.tracking_uri)
    client = MlflowClient(plan.stores.tracking_uri)
    try:
        experiment_id = open_experiment(client, plan.sweep.name, plan.stores.artifact_root)
    except ValueError as error:
        raise UserError(str(error)) from None
    return Tracker(
        client,
        experiment_id,
        run_name=f"sweep {plan.launch}",
        metric=plan.sweep.metric,
        params=parent_params(plan),
        files={
            "sweep.yaml": plan.file.read_text(),
            "sweep_as_run.json": plan.sweep.model_dump_json(indent=2),
            "command.txt": without_password(command) + "\n",
        },
        checkpoints=plan.sweep.checkpoints,
    )


def _register_winner(plan: Plan, result: SweepResult, tracker: "Tracker", status: RunListener) -> "Registration | None":
    """Register the best trial's model; returns its place, None if there is no winner."""
    from mdr_tune.sweep.finals import best_checkpoint
    from mdr_tune.tracking.champion import register_champion

    if result.winner is None or result.interrupted:
        return None
    status.stage("registering the champion")
    tracker.flush()
    return register_champion(
        tracker.client,
        tracker.experiment_id,
        tracker.run_id(result.winner),
        name=plan.sweep.name,
        checkpoint=best_checkpoint(result.winner, result.metric),
        metric=result.metric,
        description=verdict(result)[0],
    )


def _images(sweep: SweepConfig) -> dict[str, str]:
    """Return what the trials are trained and measured on: images and classes of each part, and a hash of all of it."""
    from mdr_tune.data import dataset_content, split_sizes

    data = sweep.trial.data
    sizes = split_sizes(data.name, **data.arguments())
    parts = {part.replace(" ", "_"): f"{images} of {classes} classes" for part, (images, classes) in sizes.items()}
    return {**parts, "content": dataset_content(data.name, **data.arguments())}


def parent_params(plan: Plan) -> dict[str, object]:
    """Return what the parent run records of the sweep."""
    sweep = plan.sweep
    return {
        "metric": sweep.metric,
        "search": {**sweep.search.model_dump(), "trials": plan.arms[0].trials},
        "baselines": ", ".join(sweep.baselines),
        "workers_per_trial": plan.lanes.workers_per_lane,
        "lanes": plan.lanes.num_lanes,
        "versions": {"mdr_tune": __version__, "python": platform.python_version()},
        "images": _images(sweep),
        "space": {key: str(domain.model_dump(exclude_none=True)) for key, domain in sweep.space.items()},
    }
