"""Show the progress of tasks: bars on a terminal, and elsewhere a line at the beginning and the end of each task."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from mdr_tune.cli.terminal import say
from mdr_tune.util.progress import Progress as ProgressCall

_MANY = 10_000_000
"""Smallest count that is shown in millions. Such a count is one of bytes, because there are fewer images."""


@contextmanager
def progress_bars(console: Console) -> Iterator[ProgressCall]:
    """Yield a function that shows the progress of tasks on `console`. Bars are removed when the block ends; lines stay.

    The function takes the name of a task, the number of items or bytes that are done, and the total number. A total of
    0 means that the total is not known, as for some downloads.
    """
    columns = (TextColumn("{task.description}"), BarColumn(None), _Count(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}
        told: set[tuple[str, bool]] = set()

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=None)
            bars.update(tasks[what], completed=done, total=total or None)
            if not console.is_terminal and (what, done == total) not in told:
                told.add((what, done == total))
                say(console, f"{what}: {done:,} of {total:,}" if total else what)

        yield show


class _Count(ProgressColumn):
    """Column of a progress bar with the number that is done, and the total if it is known, in millions for bytes."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        """Return the column's text for `task`."""
        most = max(task.completed, task.total or 0)
        scale, unit = (1e6, " million") if most >= _MANY else (1, "")
        total = "" if task.total is None else f" of {task.total / scale:,.0f}"
        return Text(f"{task.completed / scale:,.0f}{total}{unit}", style="progress.download")
