"""Standard output and error that never decide what becomes of a command, whatever their encoding and reader."""

import codecs
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from mdr_tune.util.words import escaped

_NAMES: tuple[Literal["stdout"], Literal["stderr"]] = ("stdout", "stderr")
_READER_IS_GONE = (errno.EPIPE, errno.EIO)
"""A pipe whose reader has ended (`| head`), a terminal that was closed (EIO)."""


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Stand in for what an encoding lacks: `?`, or `\\xe9` for a byte of a file name that is not UTF-8."""
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join("?" if escaped(character) == character else escaped(character) for character in missing), error.end


codecs.register_error("mdr_tune.replace", _replace)


def with_forgiving_output(command: Callable[[], int]) -> int:
    """Run a command, and return its exit code: no character that cannot be encoded ends it, nor a reader that is gone.

    Standard output or error that are closed from the start (`>&-`) are thrown away. Output that is lost otherwise, such
    as on a full disk, is told once on standard error, and makes an exit code of 0 a 1.
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
    """What is `sys.stdout` or `sys.stderr` at the time, as the file of a console; writing to it raises no `OSError`.

    Attributes:
        lost: Why something that was printed is not where it should be, if its reader did not just go; of both streams.
    """

    lost: ClassVar[str | None] = None

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self._name = name

    @property
    def _stream(self) -> Any:
        stream = getattr(sys, self._name)
        return getattr(stream, "rich_proxied_file", stream)  # below a live display of rich

    def write(self, text: str) -> int:
        """Write a text; returns its length."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Write out what is kept."""
        self._try(lambda: self._stream.flush())

    def finish(self) -> None:
        """Write out what is kept; what cannot be written is thrown away.

        Else Python tries once more at its exit, and makes an exit code of 120 of it.
        """
        if not self._try(lambda: self._stream.flush()):
            self._throw_away()

    def _try(self, action: Callable[[], Any]) -> bool:
        """Do something that writes; returns whether it went well."""
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
        os.dup2(nowhere, self._stream.fileno())  # for what is still kept too, and for whoever else writes there
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
