"""`mdr-tune rerun SWEEP TRIAL`: run a recorded trial again, and say whether every number is the same."""

import argparse
import contextlib
import shlex
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mdr_tune.cli.progress_bars import progress_bars
from mdr_tune.cli.terminal import make_console, print_error, say
from mdr_tune.lanes.messages import LaneEnded, LaneLost, TrialFailed
from mdr_tune.report.comparison import Comparison, compare
from mdr_tune.sweep.rerun import RerunPlan, plan_rerun, prepare_rerun, run_epochs, running_lane
from mdr_tune.sweep.stores import check_exists, check_stores, choose_stores, open_client
from mdr_tune.util.errors import UserError
from mdr_tune.util.last_word import last_word
from mdr_tune.util.words import count

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DESCRIPTION = """\
Run a recorded trial again, with the configuration, the seed and the number of workers of then, and compare every metric
of every epoch; times and memory are left out. Says first what differs now: versions, commit, device. On CPUs, with
nothing different, the numbers are equal to the bit. The rerun is an MLflow run of its own, tagged rerun_of, in the same
experiment. Exit code 0: equal; 1: different.
"""
SHOWN_DIFFERENCES = 10


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `rerun` to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser("rerun", help="run a recorded trial again, and compare", description=_DESCRIPTION)
    parser.add_argument(
        "trial", nargs="+", metavar="TRIAL", help="sweep and trial (mdr_levels mdr-001), or the id of the trial's run"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="the first N epochs only; default: all that it did")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow; default: MLFLOW_TRACKING_URI, or a local store")
    parser.add_argument("--storage", metavar="DIR", help="where the local store is; default: runs")
    parser.add_argument("--code", metavar="DIR", help="the folder of your own modules; default: that of the trial")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the trial that `arguments` name again and print a comparison; return 0 if all numbers are equal, else 1."""
    stores = choose_stores(arguments.storage, arguments.tracking_uri)
    check_exists(stores)
    check_stores(stores)
    import mlflow

    from mdr_tune.tracking.rerun_record import read_original

    mlflow.set_tracking_uri(stores.tracking_uri)  # for downloads of artifacts
    client = open_client(stores)
    original = read_original(client, _run_id(client, arguments.trial), stores.shown_uri)
    plan = plan_rerun(original, arguments.epochs, shlex.join([sys.executable, *sys.argv]), arguments.code)
    say(console, _sentence(plan))
    _print_surroundings(console, plan.differences)
    with progress_bars(console) as progress:
        images = prepare_rerun(plan, lambda text: say(console, text), progress)
    if images is not None:
        say(console, f"  {images}")
    return _run_and_compare(plan, client, console)


def _run_id(client: "MlflowClient", words: list[str]) -> str:
    """Return the id of the MLflow run that `words` name: the id alone, or the names of a sweep and of a trial.

    Raises:
        UserError: There is no such sweep or trial, or there are more than two words.
    """
    from mdr_tune.tracking.reader import trial_run_id

    if len(words) > 2:
        raise UserError(f"{' '.join(words)}: name a sweep and one trial of it, or the id of the trial's run")
    return words[0] if len(words) == 1 else trial_run_id(client, *words)


def _sentence(plan: RerunPlan) -> str:
    original, lanes = plan.original, plan.lanes
    of = "" if plan.epochs == original.epochs else f" of {original.epochs}"
    epochs = count(plan.epochs, "epoch") if not of else f"{plan.epochs}{of} epochs"
    workers = count(lanes.workers_per_lane, "worker")
    seed = plan.sweep.trial.seed
    return f"{original.name} (run {original.run_id}): {epochs} again on {workers}, {plan.repeat['device']}, seed {seed}"


def _print_surroundings(console: Console, lines: list[str]) -> None:
    say(console, "What differs from then:" if lines else "Versions, commit, processor and device are those of then.")
    for line in lines:
        say(console, f"  {line}")


def _run_and_compare(plan: RerunPlan, client: "MlflowClient", console: Console) -> int:
    from mdr_tune.tracking.rerun_record import RerunRun

    done: list[dict[str, float]] = []
    say(console, f"starting Ray and {count(plan.lanes.workers_per_lane, 'worker')}")
    with (
        last_word(),
        running_lane(plan, lambda text: say(console, text)) as hub,
        RerunRun(client, plan.original, plan.sweep.trial, plan.repeat) as recorded,
    ):
        try:
            with contextlib.closing(run_epochs(plan, hub)) as epochs:
                for metrics in epochs:
                    recorded.log_epoch(metrics)
                    done.append(metrics)
                    so_far = "equal so far" if compare(plan.original.history, done).equal else "different"
                    say(console, f"epoch {len(done)} of {plan.epochs}: {so_far}")
        except (TrialFailed, LaneLost, LaneEnded) as error:
            print_error(make_console(stderr=True), f"the rerun failed in epoch {len(done) + 1}: {error}")
            return 1
        result = compare(plan.original.history, done)
        recorded.log_comparison(result.equal, f"Rerun of {plan.original.name}. {result.describe()}")
    _print_comparison(console, plan, result)
    say(console, f"Recorded as run {recorded.run_id}.")
    return 0 if result.equal else 1


def _print_comparison(console: Console, plan: RerunPlan, result: Comparison) -> None:
    say(console, Text(result.describe(), style="green" if result.equal else "red"))
    if result.equal:
        return
    table = Table(pad_edge=False, box=None, header_style="bold", padding=(0, 1))
    for column in ("metric", "from epoch", "largest", "at epoch", "then", "now"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for row in result.differences[:SHOWN_DIFFERENCES]:
        table.add_row(
            row.metric,
            str(row.first_epoch),
            f"{row.largest:.3g}",
            str(row.epoch),
            *("none" if value is None else f"{value:.9g}" for value in (row.then, row.now)),
        )
    console.print(table)
    if len(result.differences) > SHOWN_DIFFERENCES:
        say(console, f"and {len(result.differences) - SHOWN_DIFFERENCES} more metrics")
    if plan.repeat["device"] != "cpu":
        say(console, "A GPU may sum in another order from run to run: small differences are expected on one.")
