"""Run a launch as a whole, called by `cli/launch.py`: run its sweep, record it in MLflow, and register the champion."""

import contextlib
import hashlib
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mdr_tune import __version__
from mdr_tune.config.arms import data_variants
from mdr_tune.config.datasets import DataConfig
from mdr_tune.config.space import parameter_tree, walk
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.lanes.ray_seams import end_ray_at_once
from mdr_tune.records.journal import Journal
from mdr_tune.records.objectives import best_key
from mdr_tune.records.provenance import repeat_info
from mdr_tune.records.recorded_sweep import second_key
from mdr_tune.records.trial_record import SweepResult
from mdr_tune.report.description import trial_description
from mdr_tune.report.names import test_key
from mdr_tune.search.ledger import Ledger
from mdr_tune.search.stop_rules import StopRules
from mdr_tune.sweep.interrupts import Interrupts
from mdr_tune.sweep.own_components import recorded_components
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.prepare import naming, prepare_weights
from mdr_tune.sweep.recording import Found, LaunchOutcome, LaunchReport, record_outcome
from mdr_tune.sweep.run import LaunchListener, SweepRun
from mdr_tune.sweep.running_lanes import running_lanes
from mdr_tune.sweep.stored_launches import another_runs, save_plan
from mdr_tune.sweep.stores import open_client, record_present_place, without_password
from mdr_tune.util.errors import UserError
from mdr_tune.util.last_word import say_after_last_word
from mdr_tune.util.signals import raise_if_interrupted, was_interrupted
from mdr_tune.util.words import count

if TYPE_CHECKING:
    from mdr_tune.tracking.run_inputs import Context, DataSplit
    from mdr_tune.tracking.tracker import Tracker

ALL_DONE = "All of it was done and recorded."


def run_and_track(
    plan: Plan, status: LaunchListener, command: str, found: Found, show: Callable[[LaunchOutcome], None]
) -> LaunchOutcome:
    """Start Ray and the lanes, run `plan` on them, record it in MLflow, and register the winner.

    Args:
        plan: Plan of the launch.
        status: Listener that shows the user how the launch proceeds.
        command: Command line that the user typed; it is recorded with the results.
        found: Called with the result, and its table if there is one, before the winner is registered and figures are
            drawn.
        show: Called with the outcome as soon as it is recorded, before the lanes and Ray are stopped.

    Raises:
        UserError: Weights or images cannot be obtained, images have changed since the earlier trials, a check of the
            nodes failed, or the MLflow experiment cannot be opened.
    """
    with naming(plan.file, plan.overrides):
        prepare_weights(plan.sweep, status.stage)
    lanes = plan.lanes
    where = "starting Ray" if plan.address is None else f"joining {plan.address}"
    status.stage(f"{where}, then {count(lanes.num_lanes, 'lane')} of {count(lanes.workers_per_lane, 'worker')}")
    with running_lanes(plan, status.progress, status.stage) as hub:

        def tell(result: SweepResult, report: LaunchReport | None) -> None:
            hub.stop.remote()  # the lanes' workers end, and free their GPUs, while the outcome is recorded
            found(result, report)

        outcome = run_on(plan, hub, status, command, tell)
        show(outcome)
    return outcome


def run_on(
    plan: Plan, hub: Any, status: LaunchListener, command: str, found: Found = lambda result, report: None
) -> LaunchOutcome:
    """Run `plan` on the running lanes of `hub`, and record the outcome; `run_and_track` explains the arguments.

    Raises:
        UserError: The data set cannot be read or has changed, or the MLflow experiment cannot be opened.
    """
    images = _images(plan.sweep)
    _check_same_images(plan.sweep.name, plan.past.image_content, images["content"])
    with contextlib.closing(Journal(plan.folder, status.stage)) as journal:
        if not plan.resumes:
            save_plan(plan)
        journal.write("session", command=without_password(command), lanes=plan.lanes.num_lanes)
        status.stage("opening the MLflow store")
        tracker = _open_tracker(plan, command, images)
        components = recorded_components(plan.sweep, plan.code)
        journal.write("tracked", parent_run_id=tracker.parent_run_id, image_content=images["content"], **components)
        if plan.extend_by:  # not earlier: a launch that was refused until here must not count as an extension
            journal.write("extended", trials=plan.extend_by, replaces=plan.past.has_open_extension)
        return _run(plan, hub, journal, tracker, status, found)


def _check_same_images(sweep_name: str, before: str | None, content: str) -> None:
    """Raise UserError if the hash of the images in earlier trials, `before`, is known and is not `content`."""
    if before is not None and before != content:
        raise UserError(
            f"{sweep_name}: its images are not those that its trials were measured on (hash {before}, now "
            f"{content}): put them back, or launch it anew"
        )


def _run(
    plan: Plan, hub: Any, journal: Journal, tracker: "Tracker", status: LaunchListener, found: Found
) -> LaunchOutcome:
    """Search and evaluate on the running lanes of `hub`, and record the outcome; `tracker` is closed after an error."""
    from mdr_tune.sweep.live_description import LiveDescription
    from mdr_tune.sweep.watch import LaneWatch

    past, search, num_seeds = plan.past, plan.sweep.search, plan.sweep.num_repeats
    rules = _stop_rules(plan)
    description = LiveDescription(
        tracker.note,
        plan.metrics[0],
        plan.arms[0].name,
        plan.num_trials * (num_seeds if search.trains_every_repeat else 1),
        plan.sweep.is_ablation,
        past.records,
        finalists=search.finalists,
        further_seeds=None if search.seeds is not None else plan.further_seeds,
    )
    ledger = Ledger(
        journal,
        plan.metrics,
        num_seeds,
        keeps_all_checkpoints=plan.sweep.checkpoints == "all",
        listeners=[rules, tracker, status, description],
        records=past.records,
        every_seed=search.trains_every_repeat,
        num_finalists=search.finalists,
    )
    interrupts = Interrupts(status.stage, at_once=end_ray_at_once)
    run = SweepRun(plan, hub, ledger, rules, [tracker, status, description], interrupts)
    try:
        with LaneWatch(hub, plan.lanes.num_lanes, plan.lanes.needs, status.stage, status.progress, tracker.measured):
            if plan.resumes:
                tracker.catch_up(past.records)
            run.search()
            if not run.result.interrupted:
                run.evaluate()
        raise_if_interrupted()
        outcome = record_outcome(plan, run.result, tracker, status.stage, found)
    except BaseException as error:
        is_interrupt = isinstance(error, KeyboardInterrupt) or was_interrupted()
        description.end("Interrupted" if is_interrupt else "Failed", "" if is_interrupt else str(error))
        tracker.close("KILLED" if is_interrupt else "FAILED")
        raise
    if not run.result.interrupted and outcome.problem is None:  # else --resume completes what MLflow lacks
        run.finish()
        if not run.result.can_go_on:
            say_after_last_word(ALL_DONE)
    return outcome


def _stop_rules(plan: Plan) -> StopRules:
    """Return the rules that end a search of `plan` early. They have received the events of earlier sessions."""
    past, search = plan.past, plan.sweep.search
    gpus = plan.lanes.gpus_per_worker * plan.lanes.workers_per_lane
    deciding = plan.sweep.num_repeats if search.finalists is None else 1
    rules = StopRules(
        search.stop, plan.arms, plan.metrics[0], gpus, deciding, past.used_s, every_seed=search.trains_every_repeat
    )
    ended = {name: past.trial(name) for name, _, is_end in past.reports if is_end}
    rules.past([*ended.values(), *(record for record in past.records if not record.ended)])
    return rules


def _open_tracker(plan: Plan, command: str, images: dict[str, str]) -> "Tracker":
    """Open the MLflow run of `plan`'s launch, which records `command` and `images`; return the trials' tracker."""
    import mlflow

    from mdr_tune.sweep.last_writer import check_last_writer, claim, new_session
    from mdr_tune.tracking.experiment import open_experiment
    from mdr_tune.tracking.tracker import Tracker

    mlflow.set_tracking_uri(plan.stores.tracking_uri)
    client = open_client(plan.stores)
    if plan.past.parent_run_id is not None:  # checked again: another copy may have begun while Ray started
        check_last_writer(client.get_run(plan.past.parent_run_id), plan.sweep.name, plan.folder, plan.stores)
    if not another_runs(plan.folder):  # another launch may see the store under another path
        record_present_place(plan.stores, plan.sweep.name)
    experiment_id = open_experiment(client, plan.sweep.name, plan.stores.artifact_root)
    session = new_session(plan.folder)
    tracker = Tracker(
        client,
        experiment_id,
        run_name=f"sweep {plan.launch}",
        metric=plan.sweep.metric,
        params=parent_params(plan, images),
        files={
            "sweep.yaml": plan.text,
            "sweep_as_run.json": plan.sweep.model_dump_json(indent=2),
            "command.txt": without_password(command) + "\n",
        },
        checkpoints=plan.sweep.checkpoints,
        second_metric=plan.sweep.second_metric,
        local_draws=plan.local_draws,
        repeat=lambda record: repeat_info(
            record.config, plan.lanes.workers_per_lane, plan.lanes.cpus_per_worker, command, plan.code
        ),
        parent_run_id=plan.past.parent_run_id,
        splits=data_splits,
        view=lambda parent_run_id: _view(plan, parent_run_id),
        describe=lambda record, test: trial_description(record, plan.metrics[0], test),
    )
    claim(client, tracker.parent_run_id, session, plan.stores.storage)
    return tracker


def _view(plan: Plan, parent_run_id: str) -> str:
    """Return what MLflow's page of the runs of `plan` opens with: its metrics, and its searched parameters."""
    from mdr_tune.tracking.runs_view import runs_view

    sweep = plan.sweep
    keys = list(dict.fromkeys(parameter.key for parameter in walk(parameter_tree(sweep.space))))
    second = [second_key(sweep.second_metric)] if sweep.second_metric is not None else []
    return runs_view(parent_run_id, best_key(sweep.metric), [*second, test_key(sweep.metric)], keys)


def _images(sweep: SweepConfig) -> dict[str, str]:
    """Return texts on the images of `sweep`, to be kept in MLflow.

    The keys are the names of the splits, with texts such as `5864 of 100 classes`, and `content`, with the images'
    hash.
    """
    if sweep.search.folds is None:
        return _images_of(sweep.trial.data, sweep.trial.protocol)
    folds = [_images_of(data, sweep.trial.protocol) for data in data_variants(sweep)]
    texts = {part: ", ".join(f"fold {k}: {fold[part]}" for k, fold in enumerate(folds)) for part in folds[0]}
    texts |= {part: folds[0][part] for part in folds[0] if len({fold[part] for fold in folds}) == 1}
    content = "".join(fold["content"] for fold in folds).encode()
    return {**texts, "content": hashlib.blake2b(content, digest_size=10).hexdigest()}


def _images_of(data: DataConfig, protocol: str) -> dict[str, str]:
    """Return the result of `_images` for one data section of the trials, with their `protocol`."""
    from mdr_tune.data import dataset_content

    parts = {
        part.replace(" ", "_"): f"{images} of {count(classes, 'class')}"
        for part, (images, classes) in _split_sizes(data, protocol).items()
    }
    return {**parts, "content": dataset_content(data)}


def _split_sizes(data: DataConfig, protocol: str) -> dict[str, tuple[int, int]]:
    """Return (number of images, number of classes) of each split of `data` that a trial of `protocol` uses, by name."""
    from mdr_tune.data import split_sizes

    sizes = split_sizes(data)
    if protocol == "paper":  # its trials train on the validation classes too
        held_out = sizes.pop("validation")
        sizes["train"] = (sizes["train"][0] + held_out[0], sizes["train"][1] + held_out[1])
    return sizes


def data_splits(trial: TrialConfig) -> "list[DataSplit]":
    """Return the splits of the data set of `trial`, as MLflow shows them. The data set is open already."""
    from mdr_tune.data import dataset_content
    from mdr_tune.tracking.run_inputs import DataSplit

    content, source = dataset_content(trial.data), trial.data.model_dump()
    sizes = _split_sizes(trial.data, trial.protocol)
    if "test queries" in sizes:
        (queries, classes), (gallery, _) = sizes.pop("test queries"), sizes.pop("test gallery")
        sizes["test"] = queries + gallery, classes
    sizes["training"] = sizes.pop("train")
    contexts: tuple[Context, ...] = "training", "validation", "test"
    return [DataSplit(trial.data.name, c, *sizes[c], content, source) for c in contexts if c in sizes]


def parent_params(plan: Plan, images: dict[str, str]) -> dict[str, object]:
    """Return the parameters of the launch's MLflow run, which describe the sweep of `plan` as a whole.

    `images` is the result of `_images`.
    """
    import mlflow

    sweep = plan.sweep
    return {
        "metric": sweep.metric,
        "search": {**sweep.search.model_dump(), "trials": plan.arms[0].trials},
        "baselines": ", ".join(sweep.baselines),
        "workers_per_trial": plan.lanes.workers_per_lane,
        "lanes": plan.lanes.num_lanes,
        "versions": {"mdr_tune": __version__, "mlflow": mlflow.__version__, "python": platform.python_version()},
        "images": images,
        "space": {key: str(domain.model_dump(exclude_none=True)) for key, domain in sweep.space.items()},
    }
