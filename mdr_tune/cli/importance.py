"""`mdr-tune importance NAME`: show which parameters had an effect on the metric, in numbers and figures.

Trials are compared after the same number of epochs.
"""

import argparse
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mdr_tune.cli.flags import add_store_arguments, at_least_1, open_store
from mdr_tune.cli.terminal import say
from mdr_tune.records.recorded_sweep import SweepRecords
from mdr_tune.report.budget import AtBudget
from mdr_tune.util.errors import UserError
from mdr_tune.util.nearest_name import did_you_mean

FEW_TRIALS = 30
LOPSIDED = 0.8
"""Share of the trials, 0 to 1, from which on a single value of a parameter is too frequent to judge its effect."""
_BAR = 24
_DESCRIPTION = """\
Compare the trials of a sweep's newest launch after the same number of epochs, and say how much of the variation each
parameter accounts for. Draws the history, importances, slices, parallel coordinates and, with two objectives, the
Pareto front; the figures are written to a folder and logged to the launch's MLflow run.
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `importance` to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser("importance", help="which parameters mattered, with figures", description=_DESCRIPTION)
    parser.add_argument("name", metavar="NAME", help="the sweep's name")
    parser.add_argument(
        "--epochs",
        type=at_least_1,
        metavar="E",
        help="compare what trials had after E epochs; default: all, or the most that enough trials had",
    )
    parser.add_argument("--arm", metavar="ARM", help="mdr (default: the main search) or a baseline, such as triplet")
    parser.add_argument(
        "--out", "--output", type=Path, metavar="DIR", help="folder of the figures; default: figures_NAME"
    )
    add_store_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print how important each parameter of a sweep is, draw figures, log the figures to MLflow, and return 0."""
    _, client = open_store(arguments)
    from mdr_tune.report.figures import draw_figures
    from mdr_tune.tracking.reader import read_sweep
    from mdr_tune.tracking.run_files import log_figures

    sweep = read_sweep(client, arguments.name, with_histories=True)
    found = _compare(sweep, arguments)
    _print(console, sweep, found)
    folder = arguments.out or Path(f"figures_{sweep.name}")
    try:
        files = draw_figures(found, sweep.metrics, folder)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written ({error.strerror})") from None
    log_figures(client, sweep.parent_run_id, files)
    names = ", ".join(file.name for file in files)
    say(console, f"Figures in {folder}, and in figures/ of run {sweep.parent_run_id}: {names}")
    return 0


def _compare(sweep: SweepRecords, arguments: argparse.Namespace) -> AtBudget:
    from mdr_tune.report.budget import TooFewTrials, at_budget

    arms = list(dict.fromkeys(record.arm for record in sweep.records))
    if arguments.arm is not None and arguments.arm not in arms:
        hint = did_you_mean(arguments.arm, arms)
        raise UserError(f"--arm {arguments.arm}: {sweep.name} has {', '.join(arms) or 'no trials yet'}.{hint}")
    try:
        return at_budget(sweep.records, sweep.metrics, arguments.epochs, arguments.arm)
    except TooFewTrials as error:
        raise UserError(f"{sweep.name}: {error}") from None


def _print(console: Console, sweep: SweepRecords, found: AtBudget) -> None:
    from mdr_tune.records.metrics import metric_label
    from mdr_tune.report.figures import budget_title
    from mdr_tune.report.study import EVALUATOR, by_importance, importances, make_study

    study = make_study(found)
    shares, names = importances(study), by_importance(study)
    say(console, Text(sweep.name, style="bold").append(f": {budget_title(found)}", style="not bold"))
    if not names:
        console.print("No parameter varies among these trials.")
        return
    say(console, f"Share of the variation of {metric_label(sweep.metric)} ({EVALUATOR}):")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
    for name in names:
        share = shares.get(name)
        bar = "" if share is None else "█" * round(share * _BAR)
        table.add_row(Text(name), Text("" if share is None else f"{share:.2f}"), Text(bar, style="cyan"))
    console.print(table)
    if len(found.records) < FEW_TRIALS:
        console.print(f"From {len(found.records)} trials these shares are a hint, not a measurement.", style="dim")
    for name in names:
        values = Counter(trial.params[name] for trial in study.trials if name in trial.params)
        value, times = values.most_common(1)[0]
        if times >= LOPSIDED * values.total():
            text = f"{name}: {times} of {values.total()} trials have {value}, so that its share says little."
            say(console, text, style="dim")
    if len(shares) < len(names):
        console.print("Without a number: not all trials have it, and there are too few to weigh it.", style="dim")
