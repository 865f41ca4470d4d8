"""`mdr-tune spaces`: list the sweep files that come with this package, or copy one to start from."""

import argparse
import os
import shutil
import sysconfig
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mdr_tune.cli.terminal import say
from mdr_tune.util.errors import UserError
from mdr_tune.util.nearest_name import did_you_mean, unknown_name

_IN_REPOSITORY = Path(__file__).parents[2] / "search_spaces"
_INSTALLED = Path(sysconfig.get_path("data"), "share", "mdr_tune", "search_spaces")
_DESCRIPTION = """\
List the sweep files that come with mdr_tune, each with its first sentence. A name stands for its file in launch.py and
`mdr-tune launch`: --space mdr_levels. With --copy, write a file, and the code that it uses, into the working folder.
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `spaces` to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser("spaces", help="list the sweep files that come along", description=_DESCRIPTION)
    parser.add_argument("--copy", metavar="NAME", help="write this one into the working folder")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """List the shipped sweep files on `console`, or copy the one that `arguments` name; return 0."""
    spaces = shipped_spaces()
    if arguments.copy is None:
        table = Table.grid(padding=(0, 2))
        for name, file in spaces.items():
            table.add_row(Text(name), Text(first_sentence(file)))
        console.print(table)
        return 0
    if arguments.copy not in spaces:
        raise unknown_name("sweep file", arguments.copy, spaces)
    source = spaces[arguments.copy]
    for file in (source, source.with_suffix(".py")):
        if file.exists():
            _copy(file, console)
    return 0


def _copy(source: Path, console: Console) -> None:
    """Copy `source` into the working folder. UserError if this has a file of that name, or cannot be written to."""
    try:
        with source.open("rb") as content, Path(source.name).open("xb") as file:
            shutil.copyfileobj(content, file)
    except FileExistsError:
        raise UserError(f"{source.name} is there already: move it, or copy from {source}") from None
    except OSError as error:
        raise UserError(f"{source.name}: cannot be written ({error.strerror})") from None
    say(console, f"wrote {source.name}")


def shipped_spaces() -> dict[str, Path]:
    """Return the shipped sweep files by name, such as `mdr_levels` or `paper/methods`."""
    folder = _IN_REPOSITORY if _IN_REPOSITORY.is_dir() else _INSTALLED
    return {str(file.relative_to(folder).with_suffix("")): file for file in sorted(folder.rglob("*.yaml"))}


def shipped_or_own(text: str) -> Path:
    """Return the sweep file that `text`, the value of a flag, names: a path, or else the name of a shipped file.

    If `text` is neither, return it as a path, or raise ArgumentTypeError if a shipped file has a similar name.
    """
    path = Path(text)
    if path.suffix or os.path.exists(path):  # Path.exists raises for a name that is too long
        return path
    spaces = shipped_spaces()
    if text not in spaces and (guess := did_you_mean(text, list(spaces))):
        raise argparse.ArgumentTypeError(
            f"there is no {text}.{guess} `mdr-tune spaces` lists the files that come along"
        )
    return spaces.get(text, path)


def first_sentence(file: Path) -> str:
    """Return the first sentence of the comment at the beginning of a sweep `file`."""
    comment = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    sentence, stop, _ = " ".join(comment).partition(". ")
    return f"{sentence}." if stop else sentence
