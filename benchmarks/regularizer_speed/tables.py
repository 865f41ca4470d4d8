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
    for column in ("", "ours", "textbook", "ratio", "products (1)", "MiB, ours", "textbook", "gradients differ by (2)"):
        table.add_column(column, justify="right" if column else "left")
    for result in results:
        ours, theirs = result.seconds
        table.add_row(
            result.problem.name,
            f"{ours * 1e3:.2f}",
            f"{theirs * 1e3:.2f}",
            f"{theirs / ours:.1f}",
            f"{ours / result.product_s:.1f}",
            *(f"{peak / 2**20:.2f}" for peak in result.peaks),
            "-" if result.gradients_differ_by is None else f"{result.gradients_differ_by:.0e}",
        )
    console.print(table)
    console.print(
        "(1) our time in those of one N x N x D matrix product\n"
        "(2) the length of the difference in that of the gradient; with triplets each side draws its own",
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
        ours_mib, their_mib = (extra / 2**20 for extra in result.extra_memory)
        what = f"its peak memory beyond the gradient, N = {problem.count}"
        found.append(Row(what, against, "MiB", ours_mib, their_mib, aim=AIM_MEMORY))
        if problem.count == 2048:
            what, products = "its time in N x N x D products, N = 2048", ours / result.product_s
            found.append(Row(what, "", "products", products, aim=AIM_PRODUCTS, aim_is="at most"))
    return found
