"""What is printed: a table of both sides, and its lines for `make bench`."""

from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table
from summary.rows import Row

from throughput.sides import Setting

BARE = "the same step in bare PyTorch"
AIM_HEAD, AIM_NETWORK = 0.77, 0.91
"""Of the speed of the bare step: at most 1.3 and 1.1 times its time."""


@dataclass(frozen=True)
class Measured:
    """What came out of one setting; pairs have our side first.

    Attributes:
        setting: What was trained.
        against: What the other side is.
        iterations: Timed steps of a side.
        rounds: Images a second of each round.
        peaks: GiB, None where not measured.
        busy_s: Seconds of a step in which the device had anything to do, None where not measured.
        losses: Of the last round, without MDR: both sides should train alike.
        first_losses: Of the round before the timed ones.
    """

    setting: Setting
    against: str
    iterations: int
    rounds: tuple[list[float], list[float]]
    peaks: tuple[float | None, float | None]
    busy_s: tuple[float | None, float | None]
    losses: tuple[float, float]
    first_losses: tuple[float, float]

    @property
    def compares_losses(self) -> bool:
        """Whether both sides have to compute the same losses."""
        return self.against == BARE

    @property
    def speeds(self) -> tuple[float, float]:
        """Images a second, the medians of the rounds."""
        return median(self.rounds[0]), median(self.rounds[1])

    @property
    def step_s(self) -> tuple[float, float]:
        """Seconds a step, the medians of the rounds."""
        return self.setting.batch_size / self.speeds[0], self.setting.batch_size / self.speeds[1]

    @property
    def idle(self) -> tuple[float, float] | None:
        """Percent of a step in which the device had nothing to do; None where not measured."""
        (our_busy, their_busy), (our_step, their_step) = self.busy_s, self.step_s
        if our_busy is None or their_busy is None:
            return None
        return 100 * max(0.0, 1 - our_busy / our_step), 100 * max(0.0, 1 - their_busy / their_step)


def rows(results: list[Measured]) -> list[Row]:
    """Return the lines of the table of `make bench`."""
    found = []
    for result in results:
        setting, against, (ours, theirs) = result.setting, result.against, result.speeds
        what = f"{_kind(setting)}, batch {setting.batch_size}"
        unit, each, aim = (
            ("steps/s", setting.batch_size, AIM_HEAD) if setting.is_head_only else ("images/s", 1, AIM_NETWORK)
        )
        aimed = aim if result.compares_losses else None
        found.append(Row(what, against, unit, ours / each, theirs / each, more_is_better=True, aim=aimed))
        if result.idle is not None:
            found.append(Row(f"{what}: share of a step in which the device idles", against, "%", *result.idle))
        our_peak, their_peak = result.peaks
        if our_peak is not None:
            found.append(Row(f"{what}: peak memory", against, "GiB", our_peak, their_peak))
    return found


def _kind(setting: Setting) -> str:
    if setting.is_head_only:
        return f"training the head alone, {setting.precision}"
    return f"training {setting.name}, {setting.image_size} px"


def print_table(console: Console, results: list[Measured]) -> None:
    """Print one row a setting, and below it what the medians are of."""
    table = Table(title="Images a second in training", title_justify="left", title_style="bold")
    for column in ("", "batch", "steps", "ours", "theirs", "ratio", "idle %", "peak GiB", "loss at the end"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for result in results:
        ours, theirs = result.speeds
        table.add_row(
            result.setting.name,
            str(result.setting.batch_size),
            str(result.iterations),
            f"{ours:.1f}",
            f"{theirs:.1f}",
            f"{ours / theirs:.2f}",
            "-" if result.idle is None else " / ".join(f"{share:.0f}" for share in result.idle),
            " / ".join("-" if peak is None else f"{peak:.2f}" for peak in result.peaks),
            " / ".join(f"{loss:.3f}" for loss in result.losses),
        )
    console.print(table)
    console.print(
        "idle, peak and loss: ours / theirs; idle: the share of a step in which the device has nothing to do, on a CPU "
        "in which no operation runs; the loss is that of the triplets in the last round",
        style="dim",
    )
    for result in results:
        for side, rounds in zip(("ours", result.against), result.rounds, strict=True):
            each = ", ".join(f"{speed:.1f}" for speed in rounds)
            console.print(f"rounds of {result.setting.name}, {side}: {each}", style="dim")
    if all(result.peaks[0] is None for result in results):
        console.print("Peak memory is measured on CUDA only.", style="dim")
