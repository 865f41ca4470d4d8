"""How far something is: bars on a terminal, and elsewhere a line where it begins and one where it ends."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from mdr_tune.cli.terminal import say
from mdr_tune.util.progress import Progress as ProgressCall

_MANY = 10_000_000
"""More than there are images: bytes."""


@contextmanager
def progress_bars(console: Console) -> Iterator[ProgressCall]:
    """Yield what shows a progress. The bars are gone when the block ends; lines stay.

    A total of 0 stands for one that is not known, as it may be with a download.
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
    """How many are done, of how many if that is known; bytes come in millions."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        """Return the text of one bar."""
        most = max(task.completed, task.total or 0)
        scale, unit = (1e6, " million") if most >= _MANY else (1, "")
        total = "" if task.total is None else f" of {task.total / scale:,.0f}"
        return Text(f"{task.completed / scale:,.0f}{total}{unit}", style="progress.download")
