"""What is printed: two tables, and a line on whether both sides computed the same; the lines for `make bench`."""

from statistics import median

from rich.console import Console
from rich.table import Table
from summary.rows import Row

from overhead.launch import Launch, median_launch
from overhead.launch import Row as Stretch
from overhead.trials import Comparison, Side, median_after_first

AIM = 100
"""How many times less a trial on lanes is to take beyond training."""
AIM_LAUNCH_S = 20

FOOTNOTES = """\
(1) from Tune having its actor running to Tune having its end
(2) from the first trial's end to the last's, per trial after the first: actors, suggestions, checkpoints count
(3) from the call of Tune, on lanes when they are ready, to the last trial's end, per trial: Tune's start counts"""


def rows(recipe: Side, lanes: Side, launches: list[Launch], recipe_launches_s: list[float]) -> list[Row]:
    """Return the lines of the table of `make bench`.

    Args:
        recipe: The documented side.
        lanes: Ours.
        launches: Of launch.py.
        recipe_launches_s: Seconds from the launch of a script of the documented pattern to its first step.
    """
    against = "a TorchTrainer a trial"
    ours_s, their_s = (median_after_first(side.beyond_training_s()) for side in (lanes, recipe))
    further = [side.beyond_training_of_further_trials_s() for side in (lanes, recipe)]
    found = [Row("a trial's time beyond its training", against, "s", ours_s, their_s, aim=AIM)]
    if further[0] is not None:
        what = "a trial's time beyond its training, with its actor, suggestion and checkpoints; the mean of one search"
        found.append(Row(what, against, "s", further[0], further[1], aim=AIM))
    seconds = median(launch.first_epoch_starts_s for launch in launches)
    what, against = "launch to first epoch, 2 workers", "a TorchTrainer a trial: launch to first step"
    found.append(Row(what, against, "s", seconds, median(recipe_launches_s), aim=AIM_LAUNCH_S, aim_is="at most"))
    return found


def print_trials(console: Console, recipe: Side, lanes: Side) -> None:
    """Print what a trial takes beyond training, on both sides."""
    table = Table(title="One trial beyond training (seconds)", title_justify="left", title_style="bold")
    for column in ("", "documented", "lanes", "ratio"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    sides = (recipe, lanes)
    table.add_row("trials", *(str(len(side.records)) for side in sides), "")
    epochs_s = (median_after_first(side.training_s()) for side in sides)
    table.add_row("in epochs, median trial after the first", *(f"{value:.2f}" for value in epochs_s), "")
    beyond = [median_after_first(side.beyond_training_s()) for side in sides]
    aim = f"{beyond[0] / beyond[1]:.0f} (aim: {AIM})"
    table.add_row("beyond, median trial after the first (1)", *(f"{value:.2f}" for value in beyond), aim, style="bold")
    _add_ratio(table, "beyond, each further trial (2)", [side.beyond_training_of_further_trials_s() for side in sides])
    _add_ratio(table, "beyond, whole search / trials (3)", [side.beyond_training_of_search_s() for side in sides])
    table.add_row("start of the lanes, once a sweep", "", f"{lanes.lanes_start_s:.2f}", "")
    console.print(table)
    console.print(FOOTNOTES, style="dim", soft_wrap=True)
    for name, side in (("documented", recipe), ("lanes", lanes)):
        each = ", ".join(f"{value:.2f}" for value in side.beyond_training_s())
        console.print(f"(1) of each trial, {name}: {each}", style="dim", soft_wrap=True)


def _add_ratio(table: Table, label: str, values: list[float | None]) -> None:
    left, right = values
    ratio = "" if left is None or right is None else f"{left / right:.0f}"
    table.add_row(label, *("" if value is None else f"{value:.2f}" for value in values), ratio)


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print whether equal configs gave equal numbers."""
    if comparison.differences:
        console.print("Numbers DIFFER between the two sides:", style="red")
        for difference in comparison.differences:
            console.print(f"  {difference}", style="red", soft_wrap=True)
    else:
        console.print(
            f"Equal numbers for equal configs: {comparison.trials} trials, {comparison.metrics} metrics an epoch, "
            "compared exactly.\n",
            soft_wrap=True,
        )


def print_launch(
    console: Console, launches: list[Launch], recipe_launches_s: list[float], recipe_start: tuple[float, float]
) -> None:
    """Print where a launch's seconds go.

    Args:
        launches: Of launch.py; the median one is shown.
        recipe_launches_s: Seconds from the launch of a script of the documented pattern to its first step.
        recipe_start: Of the documented pattern's median trial: seconds from its actor running until its train loop
            runs, and until its first step.
    """
    launch = median_launch(launches)
    title = f"launch.py to its first epoch (seconds; median launch of {len(launches)})"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("what the driver does, without a gap")
    table.add_column("takes", justify="right")
    table.add_column("done at", justify="right")
    _add(table, launch.to_first_epoch)
    table.add_section()
    table.add_row("first epoch begins", "", f"{launch.first_epoch_starts_s:.2f}", style="bold")
    table.add_row("documented: launch to first step", "", f"{median(recipe_launches_s):.2f}", style="bold")
    entered, first_step = recipe_start
    table.add_row("documented, EACH trial: actor running to its train loop", f"{entered:.2f}", "")
    table.add_row("documented, EACH trial: actor running to its first step", f"{first_step:.2f}", "")
    table.add_section()
    table.add_row("beside it", "", "", style="dim")
    _add(table, launch.beside)
    table.add_section()
    table.add_row("then", "", "", style="dim")
    _add(table, launch.after)
    console.print(table)
    for name, seconds in (
        ("launch.py", [each.first_epoch_starts_s for each in launches]),
        ("documented", recipe_launches_s),
    ):
        console.print(f"each launch, {name}: {', '.join(f'{value:.1f}' for value in seconds)}", style="dim")


def _add(table: Table, rows: list[Stretch]) -> None:
    for row in rows:
        table.add_row(row.label, f"{row.takes_s:.2f}", f"{row.at_s:.2f}")
