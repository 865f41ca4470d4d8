"""Record the outcome of a launch: register the champion, draw the figures, write the description and the report."""

import datetime
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mdr_tune.config.space import searched
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.records.trial_record import SweepResult
from mdr_tune.report.description import (
    ablation_description,
    registered_description,
    search_description,
    version_description,
)
from mdr_tune.report.rows import AblationTable
from mdr_tune.report.sentences import gains, summary_sentences, verdict
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.stores import Stores
from mdr_tune.util.signals import raise_if_interrupted
from mdr_tune.util.words import count

if TYPE_CHECKING:
    from mdr_tune.tracking.champion import Registration
    from mdr_tune.tracking.tracker import Tracker

Stage = Callable[[str], None]


@dataclass(frozen=True)
class LaunchReport:
    """The results of a launch, with confidence intervals.

    Attributes:
        table: Rows for all configurations of an ablation, or for the best configuration of each arm of a search.
        sentences: Sentences on the gain by MDR.
        page: File with the page of the report; None if the report was not written.
        problem: Error that kept the report from being written; None if there was none.
    """

    table: AblationTable
    sentences: list[str]
    page: Path | None
    problem: str | None = None


Found = Callable[[SweepResult, LaunchReport | None], None]


@dataclass(frozen=True)
class LaunchOutcome:
    """The outcome of a launch and the places where it is recorded.

    Attributes:
        parent_run_id: Id of the MLflow run of the launch.
        champion: Version of the winner in MLflow's registry; None if no model was registered.
        report: Results with confidence intervals. None if the sweep was interrupted, if no trial has a value, or if
            MLflow failed before the results were read.
        problem: Error while the outcome was recorded; None if there was none. In both cases, `result` is valid.
    """

    result: SweepResult
    experiment_id: str
    parent_run_id: str
    champion: "Registration | None"
    report: LaunchReport | None = None
    problem: str | None = None


def load_command(stores: Stores, sweep: SweepConfig, champion: "Registration") -> str:
    """Return the lines of Python that load the `champion` of `sweep` from `stores`, in a fresh process."""
    return stores.load_command(f"{sweep.name}@champion", sweep.trial.data, champion.needs_code)


def record_outcome(
    plan: Plan, result: SweepResult, tracker: "Tracker", stage: Stage, found: Found = lambda result, report: None
) -> LaunchOutcome:
    """Register the winner of `result`, draw figures, describe and close the launch's MLflow run, and write the report.

    If a step fails, the later steps are skipped, and the outcome has the error as its `problem`. A later --resume does
    what is missing. `tracker` is closed together with the run, so it stays open if an earlier step fails. `stage` is
    called with a text on each step that takes a while, and `found` before the first of them: with `result`, and with
    its table if that could be made.

    Raises:
        KeyboardInterrupt: An interrupt came, possibly one that MLflow caught. The tracker may be open or closed then.
    """
    champion, evidence, report, problem = None, None, None, None
    try:
        if result.winner is not None and not result.interrupted:
            evidence = _read(plan.sweep.name, tracker)
            report = _what_was_found(evidence)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    raise_if_interrupted()
    found(result, report)
    if problem is not None:
        return LaunchOutcome(result, tracker.experiment_id, tracker.parent_run_id, None, None, problem)
    try:
        champion = _register_winner(plan, result, tracker, stage)
        raise_if_interrupted()
        _draw_figures(plan.sweep, result, tracker, stage)
        raise_if_interrupted()
        command = load_command(plan.stores, plan.sweep, champion) if champion else None
        if report is not None and report.table.is_grid:
            description = ablation_description(report.table, report.sentences, command)
        else:
            description = search_description(result, command, None if report is None else report.table)
        tracker.describe(description, gains(result))
        tracker.close("KILLED" if result.interrupted else "FINISHED" if result.winner else "FAILED")
        if report is not None and evidence is not None:  # after the run is closed: the report says how the launch ended
            report = _write_report(plan.folder / "report", tracker, _ended(evidence), report, stage)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    raise_if_interrupted()
    return LaunchOutcome(result, tracker.experiment_id, tracker.parent_run_id, champion, report, problem)


def _read(sweep_name: str, tracker: "Tracker") -> SweepEvidence:
    """Return what MLflow has of the launch that `tracker` has recorded."""
    tracker.flush()
    from mdr_tune.tracking.evidence import read_evidence

    return read_evidence(tracker.client, sweep_name, tracker.parent_run_id)


def _what_was_found(evidence: SweepEvidence) -> LaunchReport:
    """Return the table and the sentences of `evidence`, without a page, since the report is written later."""
    from mdr_tune.report.ablation import ablation_table

    table = ablation_table(evidence)
    return LaunchReport(table, summary_sentences(evidence, table), None)


def _ended(evidence: SweepEvidence) -> SweepEvidence:
    """Return `evidence` with the launch marked as finished now, since it was read shortly before the launch ended."""
    facts = replace(evidence.facts, ended=datetime.datetime.now())
    return replace(evidence, sweep=replace(evidence.sweep, status="FINISHED"), facts=facts)


def _write_report(
    folder: Path, tracker: "Tracker", evidence: SweepEvidence, found: LaunchReport, stage: Stage
) -> LaunchReport:
    """Write the report on `evidence` to `folder` and MLflow; return `found` with its page, or with the error."""
    from mdr_tune.report.write import build_report
    from mdr_tune.tracking.run_files import log_report

    stage("writing the report")
    try:
        written = build_report([evidence], folder)
        log_report(tracker.client, tracker.parent_run_id, written.folder)
    except Exception as error:
        return replace(found, problem=f"{type(error).__name__}: {error}")
    return replace(found, page=written.files[0])


def _register_winner(plan: Plan, result: SweepResult, tracker: "Tracker", stage: Stage) -> "Registration | None":
    """Register the winner of `result`; return None if there is no winner or the sweep was interrupted."""
    from mdr_tune.checkpoints.checkpoint_file import CHECKPOINT_FILE
    from mdr_tune.sweep.finals import best_checkpoint
    from mdr_tune.tracking.champion import describe_registered, register_champion

    if result.winner is None or result.interrupted:
        return None
    stage("registering the champion")
    tracker.flush()
    name, data = plan.sweep.name, plan.sweep.trial.data
    splits = tracker.splits(TrialConfig.model_validate(result.winner.config))
    champion = register_champion(
        tracker.client,
        tracker.experiment_id,
        tracker.run_id(result.winner),
        name=name,
        checkpoint=best_checkpoint(result.winner, result.metric) / CHECKPOINT_FILE,
        metric=result.metric,
        description=verdict(result)[0],
        details=lambda made: version_description(
            result,
            [f"{split.context} {split.images} of {count(split.classes, 'class')}" for split in splits],
            plan.stores.load_command(f"{name}/{made.version}", data, made.needs_code),
        ),
    )
    load = load_command(plan.stores, plan.sweep, champion)
    describe_registered(tracker.client, name, registered_description(name, load))
    return champion


def _draw_figures(sweep: SweepConfig, result: SweepResult, tracker: "Tracker", stage: Stage) -> None:
    """Draw the figures about the search space and log them to the launch's MLflow run.

    No figures are drawn for an ablation, an interrupted sweep, a space without parameters, or a search with too few
    trials.
    """
    from mdr_tune.report.budget import MIN_TRIALS

    main = [record for record in result.records if record.arm == result.main_arm]
    nothing_searched = sweep.is_ablation or not searched(sweep.space)  # figures of an ablation are in its report
    if nothing_searched or result.interrupted or len(main) < MIN_TRIALS:
        return
    stage("drawing the figures of the search")
    from mdr_tune.report.figures import sweep_figures
    from mdr_tune.tracking.run_files import log_figures

    with tempfile.TemporaryDirectory() as folder:
        files = sweep_figures(main, result.metric, Path(folder), result.second_metric)
        log_figures(tracker.client, tracker.parent_run_id, files)
