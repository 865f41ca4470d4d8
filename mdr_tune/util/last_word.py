"""Print the last lines of a process that does not end in order, such as after SIGKILL.

A library may end the process without a word (Ray does, by `_Exit` in a thread), and so may the kernel when memory is
short. A small shell beside the process then prints the last lines, the *last word*. It notices the end of the process
when the pipe between them closes.
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
"""Control sequence for terminals, where a live line may have hidden the cursor."""
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
    """The shell that prints the last word: a message and, if a file exists, a second line.

    Args:
        file: File that must exist for the second line to be printed.
        more: The second line.
    """

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
        """End the shell without printing anything: the process ends in order."""
        self.tell(_IN_ORDER)
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._guard.wait()

    def tell(self, message: str) -> None:
        """Replace the message."""
        with contextlib.suppress(OSError):  # somebody ended the shell
            self._pipe.write(f"{' '.join(message.split())}\n".encode())

    def replace_more(self, more: str) -> None:
        """Replace the second line."""
        self._more = " ".join(more.split())
        self.tell(f"more: {self._more}")

    def more(self) -> str:
        """Return the second line if the file exists, else an empty text."""
        return f"{self._more}\n" if self._file.exists() else ""


_current: _LastWord | None = None


@contextlib.contextmanager
def last_word(file: Path = Path(os.devnull) / "none", more: str = "") -> Iterator[None]:
    """Have a message printed on stderr if the process is ended within the block. An exception is no such end.

    Args:
        file: File that must exist by then for the second line to be printed.
        more: Second line, such as how to resume.
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
    """Make an error that leaves the block the last word, in case the process does not live to report it."""
    try:
        yield
    except BaseException as error:
        if _current is not None:
            _current.tell(f"error: {type(error).__name__}: {error}")
        raise


def say_after_last_word(more: str) -> None:
    """Replace the second line of the last word."""
    if _current is not None:
        _current.replace_more(more)


def exit_at_once(code: int, reason: str, last: Callable[[], None] = lambda: None) -> NoReturn:
    """Print a reason and the last word's second line on stderr, and end this process without any clean-up.

    Signal handlers and threads may call it: it does not use Python's streams, whose locks other code may hold.

    Args:
        code: Exit code of the process.
        reason: Text that is printed after `error: `.
        last: Function that is called when everything is printed. It may make a library end this process.
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
