"""What is printed: a table of both sides."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from evaluation_speed.problems import Problem

AIM_RATIO = 20
AIM_PEAK_GIB = 2.0


@dataclass(frozen=True)
class Measured:
    """What came out of one problem; times in seconds.

    Attributes:
        problem: What was evaluated.
        ours: Of each round: all queries.
        theirs: Of each round: `queries` of them. Empty if the authors' code did not run.
        queries: How many queries of a round the authors' code had.
        base: Bytes held before an evaluation of ours.
        peak: The most bytes held during it.
        metrics: Ours, in percent.
        difference: The largest difference between their recalls and ours of the same queries, in percent points.
    """

    problem: Problem
    ours: list[float]
    theirs: list[float]
    queries: int
    base: int
    peak: int
    metrics: dict[str, float]
    difference: float | None

    @property
    def our_s(self) -> float:
        return _median(self.ours)

    @property
    def their_s(self) -> float:
        """Of all queries, in proportion to those that ran."""
        return _median(self.theirs) * self.problem.count / self.queries


def print_table(console: Console, results: list[Measured]) -> None:
    """Print one row a problem, and below it what it is made of."""
    table = Table(title="Evaluation of all queries (seconds)", title_justify="left", title_style="bold")
    for column in ("", "ours", "theirs", "ratio", "peak GiB (1)", "process GiB (2)", "recalls differ by (3)"):
        table.add_column(column, justify="right" if column else "left")
    for result in results:
        ran = bool(result.theirs)
        table.add_row(
            result.problem.name,
            f"{result.our_s:.2f}",
            f"{result.their_s:.1f}" if ran else "-",
            f"{result.their_s / result.our_s:.0f}" if ran else "-",
            f"{(result.peak - result.base) / 2**30:.2f}",
            f"{result.peak / 2**30:.2f}",
            "-" if result.difference is None else f"{result.difference:.4f}",
        )
    console.print(table)
    console.print(
        f"Aims: a ratio of {AIM_RATIO} and more, less than {AIM_PEAK_GIB:.0f} GiB.\n"
        "Ours: Recall@K, MAP@R and R-precision. Theirs: Recall@K.\n"
        "(1) of ours, beyond what was held before it, the embeddings among it; (2) in all\n"
        "(3) in percent points, between both sides' recalls of the queries that the authors' code ran",
        style="dim",
        soft_wrap=True,
    )
    for result in results:
        _print_details(console, result)
    if not any(result.theirs for result in results):
        console.print("The authors' code was not measured: give a checkout of it with --authors DIR.", style="dim")


def _print_details(console: Console, result: Measured) -> None:
    metrics = ", ".join(f"{name} {value:.2f}" for name, value in result.metrics.items())
    lines = [f"{result.problem.name}: {metrics}", f"  rounds, ours: {_listed(result.ours)}"]
    if result.theirs:
        whole = result.queries == result.problem.count
        part = "all queries" if whole else f"{result.queries:,} queries, a part in proportion to which the table's is"
        lines.append(f"  rounds, theirs: {_listed(result.theirs)} ({part})")
    console.print("\n".join(lines), style="dim", soft_wrap=True)


def _listed(seconds: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in seconds)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
