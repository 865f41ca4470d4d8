"""`python launch.py`: check everything, say what will be done, run it, say what came out."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from mdr_tune.cache_files import cache_dir
from mdr_tune.cli.output import print_plan, print_result
from mdr_tune.cli.status import Status
from mdr_tune.cli.terminal import exit_code, make_console, print_error, quiet_libraries
from mdr_tune.config.load import read_sweep
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.errors import UserError
from mdr_tune.lanes.messages import LaneEnded
from mdr_tune.lanes.resources import LaneResources
from mdr_tune.sweep.launch import LaunchOutcome, run_and_track
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.prepare import check_weights, missing_data

if TYPE_CHECKING:
    from mdr_tune.sweep.resources import Machine


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of launch.py."""
    parser = argparse.ArgumentParser(
        prog="launch.py",
        description="Search level initialisation, weight and margin of MDR over DDP workers, logged to MLflow.",
    )
    parser.add_argument("--space", type=Path, required=True, metavar="FILE", help="the sweep's YAML file")
    parser.add_argument("--trials", type=int, metavar="N", help="the same as --set search.trials=N")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the file; may be repeated"
    )
    parser.add_argument("--address", metavar="ADDRESS", help="Ray cluster (auto, host:port); default: this machine")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow; default: MLFLOW_TRACKING_URI, or a local store")
    parser.add_argument("--storage", metavar="DIR", help="checkpoints and state, shared by all nodes; default: runs")
    parser.add_argument("--name", metavar="NAME", help="the same as --set name=NAME")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the file, stores and resources, print the plan, start nothing"
    )
    return parser


def make_plan(arguments: argparse.Namespace) -> Plan:
    """Check the file, the stores and the resources, and return the plan.

    Raises:
        UserError: Something is not right.
    """
    from mdr_tune.sweep.resources import this_machine
    from mdr_tune.sweep.stores import check_stores, choose_stores

    overrides = list(arguments.set)
    if arguments.trials is not None:
        overrides.append(f"search.trials={arguments.trials}")
    if arguments.name is not None:
        overrides.append(f"name={arguments.name}")
    sweep, notes = read_sweep(arguments.space, overrides)
    stores = choose_stores(arguments.storage, arguments.tracking_uri)
    check_stores(stores)
    check_weights(sweep)
    if not arguments.dry_run:
        if problems := missing_data(sweep):
            raise UserError("\n".join(f"{arguments.space}: trial.{problem}" for problem in problems))
        cache_dir()  # a UserError if data cannot be prepared in it
    machine = this_machine() if arguments.address is None else _cluster_at(arguments.address)
    return Plan(
        sweep=sweep,
        file=arguments.space,
        notes=tuple(notes),
        stores=stores,
        machine=machine,
        lanes=_fit(sweep, machine, arguments.space),
        address=arguments.address,
    )


def _fit(sweep: SweepConfig, machine: "Machine", file: Path) -> LaneResources:
    """Return the lanes that fit; the error names the file."""
    from mdr_tune.sweep.resources import fit_lanes

    try:
        return fit_lanes(sweep, machine)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _cluster_at(address: str) -> "Machine":
    """Connect to a Ray cluster and return its resources."""
    from mdr_tune.sweep.cluster import connect
    from mdr_tune.sweep.resources import cluster

    connect(address)
    return cluster()


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns 0 when done, 2 for a mistake of the user's, 1 for anything else."""
    arguments = make_parser().parse_args(argv)
    return exit_code(lambda: _plan_and_launch(arguments, make_console()))


def _plan_and_launch(arguments: argparse.Namespace, console: Console) -> int:
    plan = make_plan(arguments)
    print_plan(console, plan)
    if arguments.dry_run:
        console.print("Dry run: file, stores and resources check out; nothing was started.")
        for problem in missing_data(plan.sweep):
            console.print(f"Not there yet: {problem}", soft_wrap=True, markup=False)
        console.print("Images and weights are looked at by the launch, before its first worker.")
        return 0
    try:
        return launch(plan, console)
    except LaneEnded as error:
        print_error(make_console(stderr=True), f"the sweep was given up: {error}")
        return 1


def launch(plan: Plan, console: Console) -> int:
    """Run a plan; returns the exit code."""
    quiet_libraries()
    with Status(console, plan.sweep.metric, plan.num_trials) as status:

        def show(outcome: LaunchOutcome) -> None:
            status.finish()
            print_result(console, plan, outcome)

        outcome = run_and_track(plan, status, shlex.join([sys.executable, *sys.argv]), show)
    return 1 if outcome.result.interrupted or outcome.result.winner is None or outcome.problem else 0
