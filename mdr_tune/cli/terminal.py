"""Parts that all commands share: consoles, the exit code after an error, and quiet third-party libraries."""

import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from rich.console import Console
from rich.text import Text

from mdr_tune.cli.streams import Output
from mdr_tune.util.errors import UserError
from mdr_tune.util.signals import sigterm_interrupts, was_interrupted

PIPE_WIDTH = 200


def make_console(stderr: bool = False) -> Console:
    """Return a console for standard output, or for standard error if `stderr`.

    If the output is not a terminal but a file or a pipe, lines are `PIPE_WIDTH` characters wide.
    """
    file = cast(IO[str], Output("stderr" if stderr else "stdout"))
    # Without emoji: rich would print one for the middle of my_losses:X: there is no such file.
    console = Console(file=file, stderr=stderr, highlight=False, emoji=False)
    if console.is_terminal:
        return console
    return Console(file=file, stderr=stderr, highlight=False, emoji=False, width=PIPE_WIDTH)


def say(console: Console, text: str | Text, style: str | None = None) -> None:
    """Print `text` on `console` in a `style`. Brackets are not interpreted as markup, and no line breaks are added."""
    console.print(text, style=style, soft_wrap=True, markup=False)


def print_error(errors: Console, message: str) -> None:
    """Print each line of `message` as an error on the console `errors`; if empty, print that no reason was given."""
    for line in message.splitlines() or ["no reason was given"]:
        say(errors, f"error: {line}", "red")


def exit_code(command: Callable[[], int]) -> int:
    """Run `command` and return its exit code. After an error, it is 2 for a mistake of the user, else 1.

    Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt in the command, so that the command can remove half-written
    files. The exit code is then 1.
    """
    errors = make_console(stderr=True)
    try:
        with sigterm_interrupts():
            return command()
    except KeyboardInterrupt:
        errors.print("interrupted", style="red")
    except (Exception, SystemExit) as error:  # a library's `sys.exit` too, which would end the command without a word
        if was_interrupted():  # a library turned the interrupt into another error
            errors.print("interrupted", style="red")
            return 1
        if (mistake := _mistake(error)) is not None:
            print_error(errors, mistake)
            return 2
        say(errors, traceback.format_exc())
    return 1


def _mistake(error: BaseException) -> str | None:
    """Return the message for the user if `error` is a mistake of the user, such as too long a file name; else None."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{error.filename}: {error.strerror}"
    return str(error) if isinstance(error, UserError) else None


def launch_words() -> list[str]:
    """Return the words of a command that launches sweeps: `mdr-tune launch` if this is mdr-tune, else launch.py."""
    return ["mdr-tune", "launch"] if Path(sys.argv[0]).name == "mdr-tune" else ["python", "launch.py"]


def quiet_libraries() -> None:
    """Keep messages of third-party libraries off the terminal. Warnings and errors of this package are still shown."""
    for name in ("ray", "mlflow", "optuna", "alembic", "torch", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"PIL")  # about odd images, which are read as torchvision reads them
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
