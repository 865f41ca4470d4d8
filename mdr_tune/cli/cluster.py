"""`mdr-tune cluster check FILE`: find what is wrong in a cluster file, before it costs money."""

import argparse
from pathlib import Path

from rich.console import Console

from mdr_tune.cli.terminal import say
from mdr_tune.cluster.file_check import check_cluster_file

_CHECK = """\
Check a cluster file before `ray up FILE`: Ray's own validation, AWS's names and types, resources against the
instance type, who could reach what, the token, secrets, paths and versions. Nothing is started and no network is used.
Call it in the folder of the project, as `ray up`: paths in the file start there.
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `cluster` to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser("cluster", help="check the file of a cluster before `ray up`")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="say what is wrong in a cluster file", description=_CHECK)
    check.add_argument("file", type=Path, metavar="FILE", help="cluster.yaml, clusters/onprem.yaml or a copy of one")
    check.set_defaults(run=run_check)


def run_check(arguments: argparse.Namespace, console: Console) -> int:
    """Check the cluster file that `arguments` name; return 0 if it is fine, else raise UserError with all problems."""
    check_cluster_file(arguments.file)
    say(console, f"{arguments.file}: fine")
    return 0
