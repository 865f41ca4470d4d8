"""Print the plan before a sweep and the result after it, for people at a terminal."""

import json
import os
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mdr_tune.cli.ablation_table import print_ablation
from mdr_tune.cli.terminal import launch_words, say
from mdr_tune.config.arms import Arm
from mdr_tune.config.space import LevelsDomain, parameter_tree, section_variants, settings
from mdr_tune.config.stop import StopConfig
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.records.objectives import chosen_on
from mdr_tune.records.trial_record import SweepResult
from mdr_tune.report.description import BEST_TRIALS_SHOWN, trial_table
from mdr_tune.report.sentences import verdict
from mdr_tune.sweep.cost import describe_epochs, describe_time, plan_cost
from mdr_tune.sweep.disk_use import describe_checkpoints, describe_features, describe_used
from mdr_tune.sweep.model_fit import describe_training
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.prepare import weights_used
from mdr_tune.sweep.recording import LaunchOutcome, LaunchReport, load_command
from mdr_tune.sweep.stores import REGISTRY_VARIABLE, Stores
from mdr_tune.sweep.trial_settings import trial_settings
from mdr_tune.util.words import count, duration

SEEDS = 8
"""Number of seeds in the command that is suggested after a search."""
PLACEMENTS = {"pack": "on as few nodes as possible", "spread": "on as many nodes as possible"}


def print_plan(console: Console, plan: Plan) -> None:
    """Print `plan` on `console`: space, search, arms, cost, lanes, resources and stores."""
    sweep, lanes = plan.sweep, plan.lanes
    say(console, Text(sweep.name, style="bold").append(f": {plan.file}", style="not bold"))
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(overflow="fold")  # a long path goes on in the next line; nothing is cut off
    _add_trial(table, plan)
    for key, domain in sweep.space.items():
        if isinstance(domain, LevelsDomain):
            for name, part in domain.parts().items():
                if part.choice is None or len(part.choice) > 1 or part.choice[0] != 0:
                    _add(table, "  space", f"{key}.{name}", part.describe())
        else:
            _add(table, "  space", key, domain.describe())
    _add_search(table, plan)
    for arm in plan.arms:
        _add(
            table,
            "  arm",
            arm.name,
            describe_trials(arm, "configuration" if sweep.search.trains_every_repeat else "trial"),
        )
    for line in describe_features(plan):
        _add(table, "  features", *line.split(": ", 1))
    cost, measured = plan_cost(plan)
    _add(table, "  cost", "epochs", describe_epochs(cost))
    _add(table, "", "time", describe_time(cost, measured, lanes))
    gpus = f", {lanes.gpus_per_worker:g} GPU" if lanes.gpus_per_worker else ""
    kind = f" ({lanes.accelerator_type})" if lanes.accelerator_type and gpus else ""
    placement = f", {PLACEMENTS[lanes.placement]}" if plan.machine.nodes and lanes.workers_per_lane > 1 else ""
    _add(
        table,
        "  lanes",
        str(lanes.num_lanes),
        f"{count(lanes.workers_per_lane, 'worker')} each, {lanes.cpus_per_worker} CPU{gpus}{kind} a worker{placement}",
    )
    _add(table, "  found", plan.machine.description, plan.machine.describe())
    _add_stores(table, plan)
    console.print(table)
    for note in plan.notes:
        say(console, f"  note: {note}")


def _add_search(table: Table, plan: Plan) -> None:
    """Add rows on the search of `plan` to `table`: sampler, metrics, scheduler, limits, folds and seeds."""
    sweep = plan.sweep
    goal = " and ".join(plan.metrics)
    _add(
        table,
        "  search",
        sweep.search.sampler,
        f"maximise {goal}, up to {count(plan.max_epochs, 'epoch')}, {sweep.search.scheduler.describe()}",
    )
    if limits := describe_stop(sweep.search.stop):
        _add(table, "", "ends at", limits)
    if sweep.search.folds is not None:
        trials = f"{count(sweep.num_repeats, 'trial')} of each configuration"
        _add(table, "", "folds", f"{sweep.search.folds}, each with every seed: {trials}")
    if sweep.search.seeds is not None:
        _add(table, "", "seeds", ", ".join(map(str, sweep.search.seeds)))
    elif sweep.search.seeds_per_trial > 1:
        best = sweep.search.finalists
        whose = f"the best {best} of each arm, after its search" if best else "each trial that is not stopped early"
        _add(table, "", "seeds", f"{sweep.search.seeds_per_trial} for {whose}")


def _add_trial(table: Table, plan: Plan) -> None:
    """Add rows on a trial of `plan` to `table`: settings, views of images, trained parts, weights, keys of flags."""
    sweep = plan.sweep
    rows = list(trial_settings(sweep, plan.outline))
    views = [data.describe_evaluation() for data in section_variants(sweep.trial, sweep.space, "data")]
    rows += [("evaluated", view) for view in dict.fromkeys(filter(None, views))]
    rows += [("trained", line) for line in describe_training(sweep)]
    rows += [("weights", used) for used in weights_used(sweep)]
    rows += [("by flags", ", ".join(plan.overrides))] if plan.overrides else []
    for i, (title, text) in enumerate(rows):
        _add(table, "" if i else "  trial", title, text)


def _add_stores(table: Table, plan: Plan) -> None:
    _add(table, "  stores", "MLflow", plan.stores.shown_uri)
    if plan.stores.other_registry is not None:
        _add(table, "", "registry", f"{plan.stores.other_registry} ({REGISTRY_VARIABLE})")
    _add(table, "", "storage", str(plan.folder.parent))
    if (checkpoints := describe_checkpoints(plan)) is not None:
        _add(table, "", "checkpoints", checkpoints)


def describe_trials(arm: Arm, unit: str) -> str:
    """Return words for the number of trials of `arm`: `20 trials of the 96 different configurations of its space`.

    `unit` is the word for one trial: `trial` or `configuration`. If the space has infinitely many configurations, or as
    many as the arm has trials, only the number of trials is given: `20 trials`.
    """
    trials = count(arm.trials, unit)
    if arm.trials < arm.wanted:
        return f"{trials}: all different configurations of its space, fewer than the {arm.wanted} asked for"
    if arm.configurations is None or arm.configurations == arm.trials:
        return trials
    return f"{trials} of the {arm.configurations:,} different configurations of its space"


def describe_stop(stop: StopConfig) -> str:
    """Return words for the limits in `stop` that end the search early, such as `2h, 5 GPU hours`; empty without any."""
    parts = [
        duration(stop.time) if stop.time is not None else "",
        f"{stop.gpu_hours:g} GPU hours" if stop.gpu_hours is not None else "",
        f"a value of {stop.target:g}" if stop.target is not None else "",
        f"{count(stop.patience, 'trial')} without a new best" if stop.patience is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def print_result(console: Console, plan: Plan, result: SweepResult, report: LaunchReport | None) -> None:
    """Print on `console` the tables of `plan`'s `result`, and the verdict on the gain by MDR.

    `report` has the intervals of the values; None if there are none.
    """
    console.print()
    if report is not None and report.table.is_grid:
        _print_ablation(console, report)
    else:
        _print_search(console, plan, result, report)
    console.print()


def print_where_next(console: Console, plan: Plan, outcome: LaunchOutcome) -> None:
    """Print on `console` what was recorded of the `outcome` of `plan`, and the commands to run next."""
    if outcome.report is not None:
        say(console, _where_the_report_is(plan.sweep.name, outcome.report))
    say(console, describe_used(plan))
    if outcome.problem is not None:
        say(console, f"MLflow did not take all of it: {outcome.problem}", style="red")
    if command := seeds_command(plan, outcome.result):
        say(console, f"\nIs it real? The best MDR trial and its baselines with {SEEDS} seeds each, paired by seed:")
        say(console, f"  {command}")
    _print_browsing(console, plan.stores, plan.sweep, outcome)


def _where_the_report_is(sweep_name: str, report: LaunchReport) -> str:
    if report.page is not None:
        return f"Report: {_shown_path(report.page)}"
    return f"No report was written ({report.problem}). Make it with: mdr-tune report {sweep_name}"


def _print_ablation(console: Console, report: LaunchReport) -> None:
    print_ablation(console, report.table)
    for sentence in report.sentences:
        say(console, sentence)


def _print_search(console: Console, plan: Plan, result: SweepResult, report: LaunchReport | None) -> None:
    titles, rows = trial_table(result)
    table = Table(title=None, pad_edge=False, box=None, header_style="bold", padding=(0, 1))
    for column in titles:
        table.add_column(column, justify="left" if column in ("trial", "outcome", "parameters") else "right")
    for cells in rows:
        _add(table, *cells)
    if table.row_count:
        console.print(table)
        main = sum(r.arm == result.main_arm and r.seed_index == 0 for r in result.records)
        if main > BEST_TRIALS_SHOWN and not result.shows_all:
            shown = f"The best {BEST_TRIALS_SHOWN} of {main} trials; all: mdr-tune leaderboard {plan.sweep.name}"
            say(console, shown, style="dim")
        console.print()
    for line in verdict(result, None if report is None else report.table):
        say(console, line)


def seeds_command(plan: Plan, result: SweepResult) -> str | None:
    """Return the command that trains the best MDR trial in `result`, and its baselines, with several seeds each.

    Return None if `plan` has no baseline, or no trial with MDR has a value.
    """
    best = result.best.get(result.main_arm)
    if best is None or result.interrupted or result.shows_all or len(plan.arms) < 2 or not best.config.get("mdr"):
        return None
    kept = [text for text in plan.overrides if text.split("=")[0].split(".")[0] not in ("search", "space", "name")]
    values = settings(parameter_tree(plan.sweep.space), best.best_parameters(result.metric))
    changes = ["space={}", "start_from=[]", f"search={{sampler: grid, scheduler: none, seeds: {list(range(SEEDS))}}}"]
    changes += [*kept, *(f"trial.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items())]
    flags = [word for change in changes for word in ("--set", change)]
    name = ["--name", f"{plan.sweep.name}_seeds"]
    return shlex.join([*launch_words(), "--space", _shown_path(plan.file), *name, *flags, *storage_flags(plan.stores)])


def storage_flags(stores: Stores) -> list[str]:
    """Return the flags of a command that names the storage of `stores`; none for the default storage."""
    return [] if stores.storage == Path("runs").absolute() else ["--storage", str(stores.storage)]


def _print_browsing(console: Console, stores: Stores, sweep: SweepConfig, outcome: LaunchOutcome) -> None:
    console.print("\nBrowse the trials, the best first:")
    for line in ui_lines(stores, outcome.experiment_id, outcome.parent_run_id):
        say(console, f"  {line}")
    champion = outcome.champion
    if champion is not None:
        registry = f", in {stores.other_registry}" if stores.other_registry else ""
        version = f"{sweep.name} version {champion.version}, alias champion{registry}"
        say(console, f"Load the winner ({version}):")
        for line in load_command(stores, sweep, champion).splitlines():
            say(console, f"  {line}")
        if champion.previous_version is not None:
            say(console, moved_alias(champion.previous_version, champion.previous_value, outcome))


def moved_alias(version: str, value: float | None, outcome: LaunchOutcome) -> str:
    """Return a sentence: before the launch with this `outcome`, the alias `champion` was at the model `version`.

    `value` is the best value of that version; None if it is not known. A warning is added if `value` is higher than the
    best value of the launch's winner.
    """
    winner = outcome.result.winner
    best = winner.best(outcome.result.metric) if winner else None
    known = f" ({value:.2f} on {chosen_on(outcome.result.metric)})" if value is not None else ""
    worse = value is not None and best is not None and best[0] < value
    note = " That one was better: mind which sweep's champion you load." if worse else ""
    return f"The alias champion was at version {version}{known} before.{note}"


def ui_lines(stores: Stores, experiment_id: str, parent_run_id: str) -> list[str]:
    """Return the lines that a user needs to open a launch's trials in the MLflow UI of `stores`, the best first.

    For a server, this is the address of their page. For a database, the command that starts the UI comes first.
    """
    from mdr_tune.tracking.runs_view import runs_page

    uri = stores.shown_uri
    page = runs_page(experiment_id, parent_run_id)
    if uri.startswith("http"):
        return [f"{uri.rstrip('/')}/{page}"]
    program = Path(sys.executable).parent / "mlflow"
    mlflow = shlex.quote(_shown_path(program))
    command = f"{mlflow} ui --host 127.0.0.1 --port 5000 --backend-store-uri {shlex.quote(uri)}"
    if stores.other_registry is not None:
        command += f" --registry-store-uri {shlex.quote(stores.other_registry)}"
    return [command, f"http://127.0.0.1:5000/{page}"]


def _shown_path(path: Path) -> str:
    """Return `path` relative to the working directory. A path outside of it is returned unchanged."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _add(table: Table, *cells: str) -> None:
    """Add a row of `cells` to `table` as plain texts, whose brackets are not interpreted as markup."""
    table.add_row(*map(Text, cells))
