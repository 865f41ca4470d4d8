"""What is printed: a table of all sides, and its lines for `make bench`."""

from dataclasses import dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table
from summary.rows import Row

from evaluation_speed.problems import Problem

AIM_RATIO = 20
AIM_OF_LIMIT = 1.5
AIM_PEAK_GIB = 2.0
AIM_VERIFICATION = 2.0
"""Of the product and top-k's time."""
SMALL, LARGE = 6_000, 60_000
"""Items of the problems with an aim."""


@dataclass(frozen=True)
class Measured:
    """What came out of one problem; times in seconds.

    Attributes:
        problem: What was evaluated.
        ours: Of each round: all queries.
        theirs: Of each round of the loop: `queries` of them.
        products: Of each round: the bare product and top-k, of all queries.
        queries: How many queries of a round the loop had.
        base: Bytes held before an evaluation of ours.
        peak: The most bytes held during it.
        metrics: Ours, in percent.
        difference: The largest difference between the loop's recalls and ours of the same queries, in percent points.
        verified: Of each round: all pairs.
        verify_base: Bytes held before a verification.
        verify_peak: The most bytes held during it.
    """

    problem: Problem
    ours: list[float]
    theirs: list[float]
    products: list[float]
    queries: int
    base: int
    peak: int
    metrics: dict[str, float]
    difference: float
    verified: list[float] = field(default_factory=list)
    verify_base: int = 0
    verify_peak: int = 0

    @property
    def our_s(self) -> float:
        return median(self.ours)

    @property
    def their_s(self) -> float:
        """Of all queries, in proportion to those that ran."""
        return median(self.theirs) * self.problem.count / self.queries

    @property
    def verify_s(self) -> float:
        return median(self.verified)

    @property
    def product_s(self) -> float:
        return median(self.products)


def rows(results: list[Measured]) -> list[Row]:
    """Return the lines of the table of `make bench`."""
    found = []
    for result in results:
        problem, has_aim = result.problem, result.problem.ks == (1, 2, 4, 8)
        aim = AIM_RATIO if has_aim and problem.count == SMALL else None
        ours_s, limit = result.our_s, result.product_s
        against = f"a loop over queries, {result.queries:,} of them timed"
        found.append(Row(f"Recall, {problem.name}", against, "s", ours_s, result.their_s, limit, aim=aim))
        if aim is not None:
            what, share = f"Recall, {problem.name}: its time in that of product and top-k", ours_s / limit
            found.append(Row(what, "", "times", share, aim=AIM_OF_LIMIT, aim_is="at most"))
        if has_aim and problem.count == LARGE:
            matrix = 4 * problem.count**2 / 2**30
            what = f"Recall, {problem.name}: memory of the whole process"
            against, peak = "N x N floats, computed", result.peak / 2**30
            found.append(Row(what, against, "GiB", peak, matrix, aim=AIM_PEAK_GIB, aim_is="at most"))
        if has_aim and problem.count == LARGE and result.verified:
            what, share = f"TAR at FAR, {problem.name}", result.verify_s / limit
            found.append(
                Row(
                    f"{what}: its time in that of product and top-k",
                    "",
                    "times",
                    share,
                    aim=AIM_VERIFICATION,
                    aim_is="at most",
                )
            )
            peak = result.verify_peak / 2**30
            found.append(
                Row(
                    f"{what}: memory of the whole process",
                    against,
                    "GiB",
                    peak,
                    matrix,
                    aim=AIM_PEAK_GIB,
                    aim_is="at most",
                )
            )
    return found


def print_table(console: Console, results: list[Measured]) -> None:
    """Print one row a problem, and below it what it is made of."""
    table = Table(title="Evaluation of all queries (seconds)", title_justify="left", title_style="bold")
    for column in ("", "ours", "loop", "ratio", "product", "of it", "peak GiB (1)", "process GiB (2)", "differ by (3)"):
        table.add_column(column, justify="right" if column else "left")
    for result in results:
        table.add_row(
            result.problem.name,
            f"{result.our_s:.2f}",
            f"{result.their_s:.1f}",
            f"{result.their_s / result.our_s:.0f}",
            f"{result.product_s:.2f}",
            f"{result.our_s / result.product_s:.2f}",
            f"{(result.peak - result.base) / 2**30:.2f}",
            f"{result.peak / 2**30:.2f}",
            f"{result.difference:.4f}",
        )
    console.print(table)
    console.print(
        f"Aims at {SMALL:,}, K = 1 to 8: a ratio of {AIM_RATIO} and more, {AIM_OF_LIMIT} times the product; at "
        f"{LARGE:,} less than {AIM_PEAK_GIB:.0f} GiB.\n"
        "Ours: Recall@K, MAP@R and R-precision. Loop: Recall@K.\n"
        "(1) of ours, beyond what was held before it, the embeddings among it; (2) in all\n"
        "(3) in percent points, between both sides' recalls of the queries that the loop ran",
        style="dim",
        soft_wrap=True,
    )
    for result in results:
        _print_details(console, result)


def _print_details(console: Console, result: Measured) -> None:
    metrics = ", ".join(f"{name} {value:.2f}" for name, value in result.metrics.items())
    whole = result.queries == result.problem.count
    part = "all queries" if whole else f"{result.queries:,} queries, a part in proportion to which the table's is"
    verified = (
        f"  rounds, verification: {_listed(result.verified)}; {result.verify_s / result.product_s:.2f} of the product "
        f"(aim at {LARGE:,}: {AIM_VERIFICATION:g}), peak {(result.verify_peak - result.verify_base) / 2**30:.2f} GiB, "
        f"process {result.verify_peak / 2**30:.2f} GiB"
    )
    lines = [
        f"{result.problem.name}: {metrics}",
        *([verified] if result.verified else []),
        f"  rounds, ours: {_listed(result.ours)}",
        f"  rounds, loop: {_listed(result.theirs)} ({part})",
        f"  rounds, product: {_listed(result.products)}",
    ]
    console.print("\n".join(lines), style="dim", soft_wrap=True)


def _listed(seconds: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in seconds)
