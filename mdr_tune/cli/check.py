"""`mdr-tune check MODULE:NAME`: check a loss, miner, network or data set of your own as a launch does, and further."""

import argparse
import shlex
from pathlib import Path

from rich.console import Console
from rich.text import Text

from mdr_tune.cli.flags import at_least_1
from mdr_tune.cli.terminal import say
from mdr_tune.config.overrides import read_override
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import instead_of, is_import_path, look_for_code_in

_DESCRIPTION = """\
Check a loss, miner, network or data set of your own, named by its import path: its signature, shapes, finite values
and gradients, gradients against finite differences in float64, one worker against two, determinism, random layers; of a
data set the splits, labels and images, and whether another process gets the same. A line for each check. Exit code 0: a
launch takes it; 2: a check failed.
"""
KINDS = ("backbone", "loss", "miner", "data")
_SAID = {"data": "data set"}
_STYLES = {"ok": "green", "note": "yellow", "FAILED": "red"}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `check` to `commands`, the commands of mdr-tune."""
    what = "check a loss, miner, network or data set of your own"
    parser = commands.add_parser("check", help=what, description=_DESCRIPTION)
    parser.add_argument("name", metavar="MODULE:NAME", help="such as my_losses:SoftTriple")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an argument of it; may be repeated"
    )
    parser.add_argument("--code", type=Path, metavar="DIR", help="the folder of your modules; default: this one")
    parser.add_argument("--kind", choices=KINDS, help="what it is; default: as its code says")
    parser.add_argument(
        "--image-size", type=at_least_1, metavar="N", help="pixels of a network's images; default: its own, or 224"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print the result of each check of the component that `arguments` name; return 0, or 2 if a check failed."""
    if not is_import_path(arguments.name) or Path(arguments.name.partition(":")[0]).suffix == ".py":
        raise UserError(_no_import_path(arguments.name))
    folder = arguments.code or Path.cwd()
    if not folder.is_dir():
        raise UserError(f"--code {folder}: there is no such folder")
    look_for_code_in([folder])
    given = dict(read_override(text, "centers=5") for text in arguments.set)
    from mdr_tune.training.component_check import SIGNATURE, check_component, for_flags, kind_of, usual_image_size

    try:
        kind = arguments.kind or kind_of(arguments.name, given)
    except UserError as error:
        raise UserError(for_flags(error, None, given)) from None
    size = arguments.image_size or (usual_image_size(arguments.name, given) if kind == "backbone" else 0)
    failed = is_other_kind = False
    say(console, Text(f"{arguments.name}, a {_SAID.get(kind, kind)}", style="bold"))
    for line in check_component(kind, arguments.name, given, size):
        say(console, Text(f"  {line.what:20}").append(f"{line.status:8}", style=_STYLES[line.status]).append(line.text))
        failed = failed or line.status == "FAILED"
        is_other_kind = is_other_kind or (line.status, line.what) == ("FAILED", SIGNATURE)
    say(console, "A check failed: mend what it says." if failed else "A launch takes it.")
    if is_other_kind and arguments.kind is None:
        others = " or ".join(f"--kind {other}" for other in KINDS if other != kind)
        say(console, f"It was taken for a {kind}, by what it takes and returns: if it is none, add {others}.")
    return 2 if failed else 0


def _no_import_path(name: str) -> str:
    """Return the message for a `name` that is no import path: it may be a folder of images, or a file of code."""
    if Path(name).is_dir():
        of_images = f"mdr-tune data prepare folder --root {shlex.quote(name)}"
        return f"{name} is a folder, and code is checked here: write module:name. A folder of images: {of_images}"
    return f"{name} is no import path: {instead_of(name)}"
