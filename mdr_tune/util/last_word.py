"""The last lines of a process that does not end in order: ended by SIGKILL, by a library, or at once.

A library may end the process without a word (Ray does, by `_Exit` in a thread), and so may the kernel where memory is
short. A small shell beside the process then says what is to be said. It notices the end of the process by its closed
pipe.
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
"""For terminals: a live line has hidden the cursor."""
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
    """What is said if the process ends now.

    Args:
        file: `more` is said after the message if this file exists.
        more: A second line.
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
        """Say nothing."""
        self.tell(_IN_ORDER)
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._guard.wait()

    def tell(self, message: str) -> None:
        """Have this line said instead of the message."""
        with contextlib.suppress(OSError):  # a guard that somebody ended
            self._pipe.write(f"{' '.join(message.split())}\n".encode())

    def replace_more(self, more: str) -> None:
        """Have this said as the second line."""
        self._more = " ".join(more.split())
        self.tell(f"more: {self._more}")

    def more(self) -> str:
        """Return the second line, if its file exists."""
        return f"{self._more}\n" if self._file.exists() else ""


_current: _LastWord | None = None


@contextlib.contextmanager
def last_word(file: Path = Path(os.devnull) / "none", more: str = "") -> Iterator[None]:
    """Have it said on stderr if the process ends within the block in another way than by an exception.

    Args:
        file: If this file exists by then, `more` is said too.
        more: A second line.
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
    """Have an error that leaves the block said, should the process not live to report it."""
    try:
        yield
    except BaseException as error:
        if _current is not None:
            _current.tell(f"error: {type(error).__name__}: {error}")
        raise


def say_after_last_word(more: str) -> None:
    """Have this said as the last word's second line from now on."""
    if _current is not None:
        _current.replace_more(more)


def exit_at_once(code: int, reason: str, last: Callable[[], None] = lambda: None) -> NoReturn:
    """End this process without any clean-up, after the reason and the last word's second line, on stderr.

    For signal handlers and threads: nothing is printed through Python's streams, whose locks others may hold.

    Args:
        code: Exit code.
        reason: Text after `error: `.
        last: Called when all is said: it may make a library end this process.
    """
    with contextlib.suppress(OSError):  # a stderr that is closed
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
