"""`python launch.py`, or `mdr-tune launch`: check a sweep, print its plan, run it, print its result."""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from mdr_tune.cli.output import describe_stop, print_plan, print_result, print_where_next, storage_flags
from mdr_tune.cli.pace import Finals, Pace
from mdr_tune.cli.spaces import shipped_or_own
from mdr_tune.cli.status import Status
from mdr_tune.cli.streams import with_forgiving_output
from mdr_tune.cli.terminal import exit_code, launch_words, make_console, print_error, quiet_libraries, say
from mdr_tune.config.schedulers import NoSchedulerConfig
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.sweep_reading import read_sweep
from mdr_tune.config.unit_notes import unit_notes
from mdr_tune.data.outline import DatasetOutline
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.lanes.messages import LaneEnded
from mdr_tune.records.journal import FILE as JOURNAL
from mdr_tune.records.journal import Past, read_past
from mdr_tune.records.trial_record import SweepResult
from mdr_tune.sweep.launch import ALL_DONE, run_and_track
from mdr_tune.sweep.own_components import changes_since, component_notes, own_code
from mdr_tune.sweep.plan import Plan, repeat_notes
from mdr_tune.sweep.prepare import (
    check_data,
    check_weights,
    draws_may_be_local,
    left_to_launch,
    may_be_downloaded,
    missing_data,
    naming,
    resize_notes,
)
from mdr_tune.sweep.recording import LaunchOutcome, LaunchReport
from mdr_tune.util.cache_folder import check_cache_dir
from mdr_tune.util.errors import UserError
from mdr_tune.util.last_word import last_word
from mdr_tune.util.signals import was_interrupted
from mdr_tune.util.user_code import UserCode
from mdr_tune.util.words import not_utf_8

if TYPE_CHECKING:
    from mdr_tune.cluster.machine import Machine


_DESCRIPTION = "Search level initialisation, weight and margin of MDR over DDP workers, logged to MLflow."


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of launch.py."""
    parser = argparse.ArgumentParser(prog="launch.py", description=_DESCRIPTION)
    _add_arguments(parser)
    return parser


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `launch`, the same as launch.py, to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser("launch", help="run a sweep, as launch.py does", description=_DESCRIPTION)
    _add_arguments(parser)
    parser.set_defaults(run=run)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--space", type=shipped_or_own, metavar="FILE", help="the sweep's YAML file, or a name of `mdr-tune spaces`"
    )
    what.add_argument("--resume", metavar="NAME", help="go on with the newest launch of this sweep in the storage")
    parser.add_argument("--extend", type=int, metavar="N", help="with --resume: add N trials to each arm")
    parser.add_argument("--trials", type=int, metavar="N", help="the same as --set search.trials=N")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the file; may be repeated"
    )
    parser.add_argument("--time-budget", metavar="TIME", help="the same as --set search.stop.time=TIME: 30m, 2h, 1h30m")
    parser.add_argument(
        "--address", metavar="ADDRESS", help="Ray cluster (auto, host:port); default: RAY_ADDRESS, or this machine"
    )
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow; default: MLFLOW_TRACKING_URI, or a local store")
    parser.add_argument("--storage", metavar="DIR", help="checkpoints and state, shared by all nodes; default: runs")
    parser.add_argument("--name", metavar="NAME", help="the same as --set name=NAME")
    parser.add_argument("--code", metavar="DIR", help="the same as --set code=DIR: the folder of your own modules")
    parser.add_argument("--no-preflight", action="store_true", help="do not check the nodes before the first worker")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the file, data, stores, resources, print the plan, start nothing"
    )


def make_plan(arguments: argparse.Namespace) -> Plan:
    """Return the plan of the new or resumed sweep that `arguments` ask for.

    The sweep file, stores, data and resources are checked first. UserError is raised if a check failed.
    """
    _check_flags(arguments)
    arguments.address = arguments.address or os.environ.get("RAY_ADDRESS") or None
    return _resumed_plan(arguments) if arguments.resume is not None else _new_plan(arguments)


def _check_flags(arguments: argparse.Namespace) -> None:
    for flag, given in vars(arguments).items():
        for text in map(str, given if isinstance(given, list) else [given]):
            if problem := not_utf_8(f"--{flag.replace('_', '-')} {text}"):  # Ray cannot start with it in the command
                raise UserError(problem)
    if arguments.resume is None and arguments.extend is not None:
        raise UserError("--extend: say which sweep: --resume NAME --extend N")
    for flag in ("trials", "name"):
        if arguments.resume is not None and getattr(arguments, flag) is not None:
            fix = "; --extend N adds trials" if flag == "trials" else ""
            raise UserError(f"--{flag}: a sweep that goes on keeps its {flag}{fix}")


def _overrides(arguments: argparse.Namespace) -> list[str]:
    """Return the keys of the sweep file that `arguments` override, as texts `KEY=VALUE`. Those of --set come first."""
    flags = {"search.trials": "trials", "name": "name", "search.stop.time": "time_budget", "code": "code"}
    values = {key: getattr(arguments, flag) for key, flag in flags.items()}
    for flag in ("name", "code"):
        if values[flag] is not None:
            values[flag] = json.dumps(values[flag], ensure_ascii=False)  # a name is text, even 2024
    return [*arguments.set, *(f"{key}={value}" for key, value in values.items() if value is not None)]


def _new_plan(arguments: argparse.Namespace) -> Plan:
    from mdr_tune.sweep.in_store import check_in_store
    from mdr_tune.sweep.lane_layout import placement_notes, with_workers, workers_note
    from mdr_tune.sweep.stores import check_stores, choose_stores
    from mdr_tune.sweep.warm_start import resolve

    sweep, notes = read_sweep(arguments.space, _overrides(arguments))
    stores = choose_stores(arguments.storage, arguments.tracking_uri)
    check_stores(stores)
    found = check_in_store(stores, sweep.name, Past())
    with naming(arguments.space, _overrides(arguments)):
        sweep, taken = resolve(sweep, stores.storage)
        sweep, code = _with_code(sweep)
    machine, lanes, fits, missing, outline = _checked(arguments, sweep, arguments.space)
    local_draws = _local_draws(sweep)
    return Plan(
        sweep=with_workers(sweep, lanes.workers_per_lane),
        file=arguments.space,
        text=arguments.space.read_text(encoding="utf-8"),
        notes=(
            *notes,
            *found,
            *taken,
            *repeat_notes(sweep),
            *fits,
            *_draw_notes(local_draws),
            *workers_note(sweep, lanes, machine),
            *placement_notes(lanes, machine),
        ),
        stores=stores,
        machine=machine,
        lanes=lanes,
        address=arguments.address,
        preflight=not arguments.no_preflight,
        missing_data=missing,
        local_draws=local_draws,
        code=code,
        outline=outline,
        overrides=tuple(_overrides(arguments)),
    )


def _with_code(sweep: SweepConfig) -> tuple[SweepConfig, UserCode | None]:
    """Return `sweep` with `code` set to the folder of the user's own modules, and a copy of these modules.

    If the sweep names no such module, return `sweep` unchanged, and None.
    """
    code = own_code(sweep)
    return (sweep, None) if code is None else (sweep.model_copy(update={"code": code.folder}), code)


def _resumed_plan(arguments: argparse.Namespace) -> Plan:
    from mdr_tune.sweep import stored_launches
    from mdr_tune.sweep.in_store import check_in_store
    from mdr_tune.sweep.lane_layout import placement_notes
    from mdr_tune.sweep.stores import check_stores, choose_stores

    stored = stored_launches.find_launch(choose_stores(arguments.storage, None), arguments.resume, arguments.code)
    stores = stored_launches.choose_store(stored, arguments.storage, arguments.tracking_uri)
    sweep, past = stored_launches.with_overrides(stored, _overrides(arguments)), read_past(stored.folder)
    stored_launches.check_not_running(stored.folder)
    stored_launches.check_study(stored.folder)
    if arguments.extend is not None:
        stored_launches.check_can_extend(sweep, arguments.extend, past, stored.legacy_draws)
    elif past.finished:
        raise UserError(f"--resume {sweep.name}: it is finished; --extend N adds N trials to each of its arms")
    stored_launches.check_budget(sweep, past)
    check_stores(stores)
    found = check_in_store(stores, sweep.name, past, stored_launches.own_stores(stored, arguments.storage))
    sweep, code = _with_code(sweep)
    machine, lanes, fits, missing, outline = _checked(arguments, sweep, stored.file)
    local_draws = _local_draws(sweep)
    return Plan(
        sweep=sweep,
        file=stored.file,
        text=stored.text,
        notes=(
            *stored.notes,
            *changes_since(past, sweep, code),
            *found,
            *unit_notes(sweep),
            *fits,
            *_draw_notes(local_draws),
            *placement_notes(lanes, machine),
        ),
        stores=stores,
        machine=machine,
        lanes=lanes,
        address=arguments.address,
        launch=stored.launch,
        past=past,
        extend_by=arguments.extend or 0,
        preflight=not arguments.no_preflight,
        missing_data=missing,
        local_draws=local_draws,
        legacy_draws=stored.legacy_draws,
        code=code,
        outline=outline,
        overrides=tuple(_overrides(arguments)),
    )


def _local_draws(sweep: SweepConfig) -> tuple[str, ...]:
    """Return the kinds of layers of `sweep`'s backbones whose draws depend on the number of workers."""
    if not draws_may_be_local(sweep):
        return ()
    from mdr_tune.training.local_draws import local_draws_of

    return local_draws_of(sweep)


def _draw_notes(local_draws: tuple[str, ...]) -> list[str]:
    return [f"trial.backbone: {text}: several workers do not compute what one computes" for text in local_draws]


def _checked(
    arguments: argparse.Namespace, sweep: SweepConfig, file: Path
) -> tuple["Machine", LaneResources, list[str], tuple[str, ...], DatasetOutline | None]:
    """Check that the pretrained weights, the data and the resources that `sweep` needs are there.

    `arguments` are those of launch.py, and `file` is the sweep file, for messages. UserError is raised if a check
    failed, or if data are missing. In a dry run, data may be missing if they can be downloaded.

    Returns:
        The machine or cluster; the lanes that fit on it; notes on the data; sentences about missing data; the outline
        of the data set, or None if data are missing.
    """
    from mdr_tune.cluster.machine import this_machine
    from mdr_tune.cluster.ray_start import check_ray_can_start

    console = make_console()
    with naming(file, _overrides(arguments)):
        check_weights(sweep)
        missing = tuple(missing_data(sweep))
        if missing and not (arguments.dry_run and may_be_downloaded(sweep)):
            raise UserError("\n".join(missing))
        check_cache_dir()
        if arguments.address is None:
            check_ray_can_start()
        notes, outline = check_data(sweep, lambda text: say(console, text, style="dim"))
        notes += resize_notes(sweep) + component_notes(sweep)
    machine = this_machine() if arguments.address is None else _cluster_at(arguments.address)
    return machine, _fit(sweep, machine, file, arguments.resume is not None), notes, missing, outline


def _fit(sweep: SweepConfig, machine: "Machine", file: Path, resumes: bool) -> LaneResources:
    """Return the lanes for `sweep` that fit on `machine`. Raise UserError, which names the sweep `file`, if none fits.

    `resumes` says whether the sweep is resumed, so that it keeps its number of workers.
    """
    from mdr_tune.sweep.lane_layout import fit_lanes

    try:
        return fit_lanes(sweep, machine, keeps_workers=resumes)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _cluster_at(address: str) -> "Machine":
    from mdr_tune.cluster.joined import connect, joined_cluster

    connect(address)
    console = make_console()
    return joined_cluster(lambda text: say(console, text, style="dim"))


def main(argv: list[str] | None = None) -> int:
    """Run launch.py with the arguments `argv`, and return 0 after success, 2 after a mistake of the user, else 1."""
    return with_forgiving_output(lambda: _run(argv))


def _run(argv: list[str] | None) -> int:
    arguments = make_parser().parse_args(argv)
    return exit_code(lambda: run(arguments, make_console()))


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print the plan of the sweep on `console`, run it unless `arguments` have --dry-run, and return the exit code."""
    plan = make_plan(arguments)
    print_plan(console, plan)
    if arguments.dry_run:
        what = "file, stores and resources" if plan.missing_data else "file, data, stores and resources"
        console.print(f"Dry run: {what} check out; nothing was started.")
        for problem in plan.missing_data:
            say(console, f"Not there yet: {problem}")
        for line in left_to_launch(plan.sweep):
            say(console, line)
        return 0
    try:
        with last_word(plan.folder / JOURNAL, how_to_resume(plan)):
            return launch(plan, console)
    except LaneEnded as error:
        print_error(make_console(stderr=True), f"the sweep was given up: {error}")
        say(console, how_to_resume(plan))
        return 1
    except (KeyboardInterrupt, Exception) as error:
        if not isinstance(error, KeyboardInterrupt) and not was_interrupted():
            raise
        print_error(make_console(stderr=True), "interrupted")
        if (plan.folder / JOURNAL).exists():
            line = ALL_DONE if read_past(plan.folder).finished else how_to_resume(plan)
            say(console, line)
        return 1


def how_to_resume(plan: Plan, out_of_budget: bool = False) -> str:
    """Return a sentence with the command that resumes the sweep of `plan`.

    `out_of_budget` says whether the sweep has used up its time or GPU hours. The command then sets a larger budget.
    """
    command = shlex.join([*launch_words(), "--resume", plan.sweep.name, *storage_flags(plan.stores)])
    if not out_of_budget:
        return f"Go on with it: {command}"
    key = "time=TIME" if plan.sweep.search.stop.time is not None else "gpu_hours=HOURS"
    return f"Go on with it, with a larger budget: {command} --set search.stop.{key}"


def launch(plan: Plan, console: Console) -> int:
    """Run the sweep of `plan`, print its result on `console`, and return the exit code."""
    quiet_libraries()
    every_seed = plan.sweep.search.trains_every_repeat
    finals = None
    if (number := plan.sweep.search.finalists) is not None:
        finals = Finals(plan.metrics[0], number, {arm.name: arm.trials for arm in plan.arms})
    pace = Pace(plan.num_trials, plan.lanes, plan.sweep.num_repeats, plan.past.records, every_seed, finals)
    search = plan.sweep.search
    may_end_early = not isinstance(search.scheduler, NoSchedulerConfig) or bool(describe_stop(search.stop))
    with Status(console, plan.sweep.metric, pace, may_end_early) as status:

        def found(result: SweepResult, report: LaunchReport | None) -> None:
            status.finish()
            print_result(console, plan, result, report)

        def show(outcome: LaunchOutcome) -> None:
            print_where_next(console, plan, outcome)
            if outcome.result.interrupted or outcome.result.can_go_on:
                say(console, how_to_resume(plan, outcome.result.can_go_on))

        outcome = run_and_track(plan, status, shlex.join([sys.executable, *sys.argv]), found, show)
    for problem in (problems := _problems(outcome)):
        print_error(make_console(stderr=True), problem)
    return 1 if problems else 0


def _problems(outcome: LaunchOutcome) -> list[str]:
    """Return the reasons why a launch with this `outcome` counts as failed although it ended; empty if it succeeded."""
    found = []
    if outcome.result.interrupted:
        found.append("interrupted")
    elif outcome.result.winner is None:
        found.append("no trial has a value")
    if outcome.problem is not None:
        found.append(f"MLflow did not take all of it: {outcome.problem}")
    if outcome.report is not None and outcome.report.problem is not None:
        found.append(f"no report was written: {outcome.report.problem}")
    return found
