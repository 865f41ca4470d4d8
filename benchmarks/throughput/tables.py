"""What is printed: a table of both sides."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from throughput.sides import Setting


@dataclass(frozen=True)
class Measured:
    """What came out of one setting; lists have our side first, then the authors' if it ran.

    Attributes:
        iterations: Timed steps of a side.
        speeds: Images a second, the median of the rounds.
        rounds: Images a second of each round.
        peaks: GiB, None where not measured.
        losses: Of the last round, without MDR: both sides should train alike.
    """

    setting: Setting
    iterations: int
    speeds: list[float]
    rounds: list[list[float]]
    peaks: list[float | None]
    losses: list[float]


def print_table(console: Console, results: list[Measured], with_authors: bool) -> None:
    """Print one row a setting, and below it what the medians are of."""
    table = Table(title="Images a second in training", title_justify="left", title_style="bold")
    for column in ("", "batch", "steps", "ours", "theirs", "ratio", "peak GiB", "loss at the end"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for result in results:
        table.add_row(
            result.setting.name,
            str(result.setting.batch_size),
            str(result.iterations),
            *[*(f"{speed:.1f}" for speed in result.speeds), "-"][:2],
            f"{result.speeds[0] / result.speeds[1]:.2f}" if len(result.speeds) > 1 else "-",
            " / ".join("-" if peak is None else f"{peak:.2f}" for peak in result.peaks),
            " / ".join(f"{loss:.3f}" for loss in result.losses),
        )
    console.print(table)
    console.print("peak and loss: ours / theirs; the loss is that of the triplets in the last round", style="dim")
    for result in results:
        for side, rounds in zip(("ours", "theirs"), result.rounds, strict=False):
            each = ", ".join(f"{speed:.1f}" for speed in rounds)
            console.print(f"rounds of {result.setting.name}, {side}: {each}", style="dim")
    if not with_authors:
        console.print("The authors' code was not measured: give a checkout of it with --authors DIR.", style="dim")
    elif any(len(result.speeds) == 1 for result in results):
        console.print("The authors' code has bn_inception, resnet18 and resnet50 only.", style="dim")
    if all(result.peaks[0] is None for result in results):
        console.print("Peak memory is measured on CUDA only.", style="dim")
