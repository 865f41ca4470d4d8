"""Write to standard output and standard error so that no problem with these streams ends a command.

Such problems are an encoding that lacks characters, a reader that is gone, and a full disk.
"""

import codecs
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from mdr_tune.util.words import escaped

_NAMES: tuple[Literal["stdout"], Literal["stderr"]] = ("stdout", "stderr")
_READER_IS_GONE = (errno.EPIPE, errno.EIO)
"""Error numbers that mean that nobody reads the output any more.

EPIPE: the program at the other end of a pipe has ended, as in `| head`. EIO: the terminal was closed.
"""


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Return a substitute for the characters in `error` that an encoding lacks, and the position after them.

    A character becomes `?`. A byte of a file name that is not UTF-8 becomes an escape such as `\\xe9`.
    """
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join("?" if escaped(character) == character else escaped(character) for character in missing), error.end


codecs.register_error("mdr_tune.replace", _replace)


def with_forgiving_output(command: Callable[[], int]) -> int:
    """Run `command` and return its exit code. Problems with its output do not end the command.

    Characters that the encoding lacks are replaced. Output is thrown away if its reader is gone, or if standard output
    or error is closed from the start (`>&-`). If output is lost for another reason, such as a full disk, standard error
    says so once, and an exit code of 0 becomes 1.
    """
    for name in _NAMES:
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process
            setattr(sys, name, stream)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="mdr_tune.replace")
    Output.lost = None
    code = 1
    try:
        code = command()
    finally:
        for name in _NAMES:
            Output(name).finish()
    return 1 if code == 0 and Output.lost else code


class Output:
    """File object that writes to whatever `sys.stdout` or `sys.stderr` (`name`) is now. Writing raises no `OSError`.

    `lost` is a sentence about output of either stream that was lost; None if nothing was lost. Output without a reader
    does not count as lost.
    """

    lost: ClassVar[str | None] = None

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self._name = name

    @property
    def _stream(self) -> Any:
        stream = getattr(sys, self._name)
        return getattr(stream, "rich_proxied_file", stream)  # the stream below a live display of rich

    def write(self, text: str) -> int:
        """Write `text` and return its length."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Write the text that is still in the buffer."""
        self._try(lambda: self._stream.flush())

    def finish(self) -> None:
        """Write the text that is still in the buffer, or throw it away if it cannot be written.

        Otherwise, Python would try to write the text again at its exit, and end with exit code 120.
        """
        if not self._try(lambda: self._stream.flush()):
            self._throw_away()

    def _try(self, action: Callable[[], Any]) -> bool:
        """Call `action`, which writes, and return whether it succeeded."""
        try:
            action()
        except OSError as error:
            if error.errno in _READER_IS_GONE:
                self._throw_away()
            elif Output.lost is None:
                Output.lost = f"what is printed is lost: {self._name} cannot be written ({error.strerror or error})"
                Output("stderr").write(f"error: {Output.lost}\n")
            return False
        return True

    def _throw_away(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # also for what is still buffered, and for other code that writes there
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
