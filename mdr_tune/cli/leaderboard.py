"""`mdr-tune leaderboard NAME`: show the ranked trials of a sweep, read from MLflow, even while the sweep runs."""

import argparse
import contextlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from mdr_tune.cli.flags import add_store_arguments, at_least_1, open_store
from mdr_tune.cli.leaderboard_table import leaderboard_table
from mdr_tune.cli.terminal import say
from mdr_tune.records.recorded_sweep import SweepRecords
from mdr_tune.report.leaderboard import flat_rows, leaderboard
from mdr_tune.report.output.data_files import Rows, csv_text, write_parquet
from mdr_tune.sweep.stores import check_exists
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import first_line

REDRAW_EVERY_S = 2.0
_LINES_AROUND = 9
"""Number of the terminal's lines that are left for the text above and below the trials."""
_DESCRIPTION = """\
Show the trials of a sweep's newest launch, the best first: best value and its epoch, the mean over seeds, the second
objective and the Pareto front (*), the value on the test classes where they were read, speed, memory, parameters.
Trials that diverged come last. csv, parquet and json have all parameters and metrics.
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `leaderboard` to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser("leaderboard", help="show the trials of a sweep, ranked", description=_DESCRIPTION)
    parser.add_argument("name", metavar="NAME", help="the sweep's name")
    parser.add_argument("--watch", action="store_true", help="show it anew every 2 s, until the sweep ends or Ctrl-C")
    parser.add_argument(
        "--sort", metavar="KEY", help="a column, a metric (train/loss) or a parameter (mdr.weight) to sort by"
    )
    parser.add_argument("--format", choices=("table", "csv", "parquet", "json"), default="table")
    parser.add_argument("--top", type=at_least_1, metavar="N", help="the first N only")
    parser.add_argument("--out", "--output", type=Path, metavar="FILE", help="write to a file instead of the terminal")
    add_store_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print the leaderboard of the sweep that `arguments` name on `console`, or write it to a file; return 0."""
    _check(arguments)
    stores, client = open_store(arguments)
    from mdr_tune.tracking.deleted import describe_deleted
    from mdr_tune.tracking.reader import read_sweep

    def read() -> SweepRecords:
        check_exists(stores)
        return read_sweep(client, arguments.name)

    if arguments.watch:
        return _watch(arguments, console, read)
    sweep = read()
    entries = leaderboard(sweep, arguments.sort)[: arguments.top]
    if arguments.format != "table":
        _write_rows(arguments.format, flat_rows(entries), arguments.out, console)
    elif arguments.out is None:
        console.print(_table(arguments, sweep, console, arguments.top))
        if gone := describe_deleted(client, sweep):
            say(console, gone, style="yellow")
    else:
        plain = Console(file=io.StringIO(), width=200, highlight=False)
        with plain.capture() as text:
            plain.print(_table(arguments, sweep, plain, arguments.top))
        _write_text(arguments.out, text.get())
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.watch and (arguments.format != "table" or arguments.out is not None):
        raise UserError("--watch shows a table on the terminal: leave --format and --out out")
    if arguments.format == "parquet" and arguments.out is None:
        raise UserError("--format parquet: name a file with --out FILE, a terminal cannot show it")


def _table(
    arguments: argparse.Namespace, sweep: SweepRecords, console: Console, top: int | None, state: str = ""
) -> RenderableType:
    return leaderboard_table(sweep, leaderboard(sweep, arguments.sort), console.width, top, state)


def _watch(arguments: argparse.Namespace, console: Console, read: Callable[[], SweepRecords]) -> int:
    """Show the leaderboard that `read` returns on `console` until the sweep ends or the user presses Ctrl-C; return 0.

    `arguments` has --sort and --top. If the store does not answer, the leaderboard says so, and `read` is called again.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    sweep = read()
    leaderboard(sweep, arguments.sort)  # an unknown key is an error before the screen is taken
    problem = ""
    try:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                top = arguments.top or (max(3, console.height - _LINES_AROUND) if console.is_terminal else None)
                state = f" · read at {sweep.read_at:%H:%M:%S}{problem}"
                live.update(_table(arguments, sweep, console, top, state), refresh=True)
                if sweep.status != "RUNNING":
                    break
                time.sleep(REDRAW_EVERY_S)
                try:
                    sweep, problem = read(), ""
                except (MlflowException, RequestException, SQLAlchemyError, OSError, UserError) as error:
                    line = first_line(error)
                    problem = f" · the store does not answer ({line if len(line) <= 60 else line[:57] + '...'})"
    except KeyboardInterrupt:
        return 0
    console.print(Text(f"The sweep ended: {sweep.status}.", style="dim"))
    return 0


def _write_rows(kind: str, rows: Rows, output: Path | None, console: Console) -> None:
    if kind == "parquet":
        assert output is not None
        with _writing(output):
            write_parquet(rows, output)
        return
    text = json.dumps(rows, indent=2) + "\n" if kind == "json" else csv_text(rows)
    if output is None:
        console.file.write(text)
    else:
        _write_text(output, text)


@contextlib.contextmanager
def _writing(file: Path) -> Iterator[None]:
    """Turn an OSError that is raised while `file` is written in the block into a UserError that names --out."""
    try:
        if file.is_fifo():
            os.close(os.open(file, os.O_WRONLY | os.O_NONBLOCK))  # an error if nobody reads; writing would hang
        yield
    except OSError as error:
        raise UserError(f"--out {file}: cannot be written ({error.strerror})") from None


def _write_text(file: Path, text: str) -> None:
    with _writing(file):
        file.write_text(text, encoding="utf-8")
