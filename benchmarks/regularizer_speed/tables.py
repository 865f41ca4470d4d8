"""What is printed: a table of both sides, and its lines for `make bench`."""

from rich.console import Console
from rich.table import Table
from summary.rows import Row

from regularizer_speed.measure import Measured

AIMS = {(128, False): 2.5, (512, False): 3.0, (2048, False): 5.0, (128, True): 3.0, (512, True): 3.0}
"""Times faster, by N and whether with triplets."""
AIM_MEMORY = 4.0
AIM_PRODUCTS = 3.0


def print_table(console: Console, results: list[Measured]) -> None:
    """Print one row a problem."""
    table = Table(title="A step (milliseconds)", title_justify="left", title_style="bold")
    for column in (
        "",
        "ours",
        "textbook",
        "ratio",
        "products (1)",
        "MiB (2), ours",
        "textbook",
        "gradients differ by (3)",
    ):
        table.add_column(column, justify="right" if column else "left")
    for result in results:
        ours, theirs = result.seconds
        table.add_row(
            result.problem.name,
            f"{ours * 1e3:.2f}",
            f"{theirs * 1e3:.2f}",
            f"{theirs / ours:.1f}",
            f"{ours / result.product_s:.1f}",
            *(f"{memory.extra / 2**20:.2f} of {memory.whole / 2**20:.2f}" for memory in result.memory),
            "-" if result.gradients_differ_by is None else f"{result.gradients_differ_by:.0e}",
        )
    console.print(table)
    console.print(
        "(1) our time in those of one N x N x D matrix product\n"
        "(2) tensors at the peak of the step without the gradient that it returns, and with it\n"
        "(3) the length of the difference in that of the gradient; with triplets each side draws its own",
        style="dim",
    )


def rows(results: list[Measured]) -> list[Row]:
    """Return the lines of the table of `make bench`."""
    found = []
    for result in results:
        problem, (ours, theirs) = result.problem, result.seconds
        what, against = problem.name, "the formulas as written"
        limit = None if problem.with_triplets else result.product_s * 1e3
        aim = AIMS.get((problem.count, problem.with_triplets))
        found.append(Row(what, against, "ms", ours * 1e3, theirs * 1e3, limit, aim=aim))
        if problem.with_triplets:
            continue
        ours_mib, their_mib = (memory.extra / 2**20 for memory in result.memory)
        what = f"MDR, N = {problem.count}: peak memory beyond the gradient that it returns"
        found.append(Row(what, against, "MiB", ours_mib, their_mib, aim=AIM_MEMORY))
        if problem.count == 2048:
            what, products = "MDR, N = 2048: its time in N x N x D products", ours / result.product_s
            found.append(Row(what, "", "products", products, aim=AIM_PRODUCTS, aim_is="at most"))
    return found
