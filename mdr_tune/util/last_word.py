"""Print a message for the user even if this process is killed.

A library may end the process without any message: Ray does so, by `_Exit` in a thread. The kernel does so when memory
is short. A small shell beside the process then prints one or two lines, the *last word*. The shell notices the end of
the process because the pipe between them closes.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

STDOUT, STDERR = 1, 2
ENDED = "error: ended before it could end in order: by SIGKILL, for want of memory, or by a library"
SHOW_CURSOR = b"\x1b[?25h"
"""Control sequence that shows the cursor of a terminal again. The status line may have hidden it."""
_IN_ORDER = "in order"
_GUARD = """
trap '' INT TERM HUP
message=$1 more=$3
while read -r line; do
  case $line in
    "in order") exit ;;
    "more: "*) more=${line#more: } ;;
    *) message=$line ;;
  esac
done
printf '%s\\n' "$message" >&2
[ -e "$2" ] && printf '%s\\n' "$more" >&2
"""


class _LastWord:
    """The shell that prints the last word: a message and, if `file` exists at that time, the second line `more`."""

    def __init__(self, file: Path, more: str) -> None:
        self._file, self._more = file, more
        command = ["/bin/sh", "-c", _GUARD, "last-word", ENDED, str(file), more]
        guard = subprocess.Popen(
            command,
            bufsize=0,  # signal handlers write too
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert guard.stdin is not None
        self._guard, self._pipe = guard, guard.stdin

    def ends_in_order(self) -> None:
        """End the shell without printing anything, because the process ends in order."""
        self.tell(_IN_ORDER)
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._guard.wait()

    def tell(self, message: str) -> None:
        """Make `message` the message that the shell will print."""
        with contextlib.suppress(OSError):  # somebody ended the shell
            self._pipe.write(f"{' '.join(message.split())}\n".encode())

    def replace_more(self, more: str) -> None:
        """Make `more` the second line that the shell will print."""
        self._more = " ".join(more.split())
        self.tell(f"more: {self._more}")

    def more(self) -> str:
        """Return the second line if its file exists, else an empty text."""
        return f"{self._more}\n" if self._file.exists() else ""


_current: _LastWord | None = None


@contextlib.contextmanager
def last_word(file: Path = Path(os.devnull) / "none", more: str = "") -> Iterator[None]:
    """Make a shell print a message on stderr if the process is killed within the block.

    If `file` exists at that time, the shell also prints the line `more`, such as how to resume. Nothing is printed if
    the block ends, even by an exception.
    """
    global _current
    before, _current = _current, _LastWord(file, more)
    try:
        yield
    finally:
        _current.ends_in_order()
        _current = before


@contextlib.contextmanager
def errors_are_the_last_word() -> Iterator[None]:
    """If an error leaves the block, make the error the message of the last word.

    The error is then printed even if the process is killed before it reports the error itself.
    """
    try:
        yield
    except BaseException as error:
        if _current is not None:
            _current.tell(f"error: {type(error).__name__}: {error}")
        raise


def say_after_last_word(more: str) -> None:
    """Make `more` the second line of the last word, if there is a last word."""
    if _current is not None:
        _current.replace_more(more)


def exit_at_once(code: int, reason: str, last: Callable[[], None] = lambda: None) -> NoReturn:
    """Print `error: `, `reason` and the last word's second line on stderr, and end this process without any clean-up.

    The exit code is `code`. Signal handlers and any thread may call this function. It does not use Python's streams,
    because other code may hold the streams' locks. `last` is called after everything is printed.
    """
    with contextlib.suppress(OSError):  # stderr may be closed
        os.write(STDERR, f"error: {reason}\n{_current.more() if _current else ''}".encode())
    if _current is not None:
        _current.tell(_IN_ORDER)
    with contextlib.suppress(OSError):
        if os.isatty(STDOUT):
            os.write(STDOUT, SHOW_CURSOR)
    try:
        last()
    finally:
        os._exit(code)
