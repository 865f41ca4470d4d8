"""What a trial costs beyond training, and a launch before it: lanes against Ray's documented pattern, in one run.

    python benchmarks/trial_overhead.py
    python benchmarks/trial_overhead.py --trials-lanes 16 --trials-recipe 8 --json overhead.json

1. The same tiny trials (data set glyphs, 1 epoch of 5 iterations, 2 DDP workers on CPU) run one after another
   - *documented*: a Tune function that builds a `TorchTrainer` and calls `fit()` for each trial, with
     `TuneReportCallback` (docs.ray.io, "Hyperparameter Tuning with Ray Tune" of Ray Train);
   - *lanes*: `running_lanes` and `ArmRun`, what launch.py calls.
   Both report and save a checkpoint every epoch, under the same search, with the same journal. A trial's time *beyond
   training* is its time from Tune having its actor running to Tune having its end, less its `time/epoch_s`. That leaves
   out the start of the actor and what Tune does between trials, so the table also gives the whole search's time less
   training, per trial, and the same from the first trial's end on. The first trial of each side warms up and counts in
   the whole search's time only. Equal configs must give equal numbers; the exit code is 1 if not.
2. `launch.py` runs as a user runs it, with new stores, in a process of its own with stamps around its parts: every
   second up to the first epoch is accounted for. In turn with it, a script with the documented pattern, from its launch
   to its first trial's first step. The first round warms up (files come into memory); the median of the others counts.

Takes about seven minutes on two quiet cores, ten on busy ones, where all numbers grow, and the ratio says less: what
else runs seldom slows both sides alike. Needs two CPUs. Leaves nothing behind (but glyphs in the cache folder, and the
file that --json names).
"""

import argparse
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from summary.rows import add_rows_option, write_rows

if TYPE_CHECKING:
    from overhead.launch import Launch
    from overhead.trials import Comparison, Side

MIN_CPUS = 2


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure what a trial costs beyond training: lanes, documented way.")
    parser.add_argument("--trials-lanes", type=_count, default=8, metavar="N", help="trials on lanes (default: 8)")
    parser.add_argument("--trials-recipe", type=_count, default=4, metavar="N", help="as documented (default: 4)")
    parser.add_argument("--rounds", type=_count, default=3, metavar="N", help="of launches (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers to FILE")
    add_rows_option(parser)
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def main() -> int:
    """Measure and print; returns 1 if the two sides computed different numbers, 2 if this machine is too small."""
    arguments = make_parser().parse_args()
    console = Console(highlight=False)
    cpus = len(os.sched_getaffinity(0))
    if cpus < MIN_CPUS:
        print(f"This needs {MIN_CPUS} CPUs, one for each DDP worker; this process may use {cpus}.", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="overhead-"))
    tempfile.tempdir = os.environ["RAY_TMPDIR"] = os.environ["TMPDIR"] = str(folder)  # what Ray leaves goes with it
    try:
        return measure(arguments, console, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(arguments: argparse.Namespace, console: Console, folder: Path) -> int:
    """Run both parts, the launches first, while no other Ray runs here."""
    from overhead.launch import launch_in_turn
    from overhead.tables import print_comparison, print_launch, print_trials, rows
    from overhead.trials import compare, make_plan

    from mdr_tune.cluster.machine import this_machine
    from mdr_tune.sweep.ray_session import ray_session

    console.print(f"{len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f} before the start", style="dim")
    launches, recipe_launches_s = launch_in_turn(arguments.rounds, folder)
    machine = this_machine()
    with ray_session(None, machine.cpus):
        from overhead.on_lanes import run_on_lanes
        from overhead.recipe import run_as_documented

        recipe = run_as_documented(make_plan("documented", arguments.trials_recipe, folder, machine))
        lanes = run_on_lanes(make_plan("lanes", arguments.trials_lanes, folder, machine))
    comparison = compare(recipe, lanes)
    start = recipe_start(recipe)
    print_trials(console, recipe, lanes)
    print_comparison(console, comparison)
    print_launch(console, launches, recipe_launches_s, start)
    if arguments.json is not None:
        found = as_json(recipe, lanes, comparison, launches, recipe_launches_s, start)
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    if arguments.rows is not None:
        write_rows(arguments.rows, rows(recipe, lanes, launches, recipe_launches_s))
    return 1 if comparison.differences else 0


def recipe_start(recipe: "Side") -> tuple[float, float]:
    """Return the documented pattern's median seconds from a trial's actor to its train loop, and to its first step."""
    from overhead.recipe import FIRST_STEP, LOOP_ENTERED
    from overhead.trials import median_after_first

    started = recipe.stopwatch.started
    entered, first_step = (
        median_after_first([record.history[0][stamp] - started[record.name] for record in recipe.records])
        for stamp in (LOOP_ENTERED, FIRST_STEP)
    )
    return entered, first_step


def as_json(
    recipe: "Side",
    lanes: "Side",
    comparison: "Comparison",
    launches: "list[Launch]",
    recipe_launches_s: list[float],
    start: tuple[float, float],
) -> dict[str, Any]:
    """Return all that was measured."""
    sides = {
        name: {
            "trials": [record.config for record in side.records],
            "history": [record.history for record in side.records],
            "training_s": side.training_s(),
            "beyond_training_s": side.beyond_training_s(),
            "beyond_training_of_further_trials_s": side.beyond_training_of_further_trials_s(),
            "beyond_training_of_search_s": side.beyond_training_of_search_s(),
            "lanes_start_s": side.lanes_start_s,
        }
        for name, side in (("documented", recipe), ("lanes", lanes))
    }
    return {
        **sides,
        "comparison": dataclasses.asdict(comparison),
        "documented_start_s": {"train_loop": start[0], "first_step": start[1]},
        "launches": [dataclasses.asdict(launch) for launch in launches],
        "documented_launches_s": recipe_launches_s,
    }


if __name__ == "__main__":
    sys.exit(main())
