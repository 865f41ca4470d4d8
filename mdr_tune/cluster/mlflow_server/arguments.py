"""The options of `mdr-tune mlflow-server`, by argparse: for the command, and for the check of cluster files."""

import argparse
from collections.abc import Callable, Mapping

from mdr_tune.cluster.mlflow_server.settings import DEFAULT_HOST, DEFAULT_PORT

Action = Callable[..., int]
"""What runs an action of the command; the check runs none."""

_INSTALL = """\
Start an MLflow server on this machine and keep it running, also after a crash and a reboot: as a systemd service, or
where systemd does not run under a supervisor of its own. Returns when the server answers. A second time with the same
options nothing happens; with others the server is started again. docs/mlflow_server.md has more.
"""
_HELP = {
    "install": "start the server and keep it running",
    "uninstall": "end the server for good; its data stays",
    "status": "show whether the server runs, since when, and its settings",
    "run": "be the installed server, in the foreground: what the service does",
}


def add_arguments(parser: argparse.ArgumentParser, actions: Mapping[str, Action]) -> None:
    """Add the actions of the command, with their options.

    Args:
        parser: Of `mdr-tune mlflow-server`.
        actions: What runs each, as `run` among the parsed arguments; may be empty.
    """
    parsers = parser.add_subparsers(metavar="ACTION", required=True)
    for name, text in _HELP.items():
        action = parsers.add_parser(name, help=text, description=_INSTALL if name == "install" else None)
        action.set_defaults(run=actions.get(name))
        if name == "install":
            _add_install(action)


def _add_install(install: argparse.ArgumentParser) -> None:
    install.add_argument(
        "--backend-store-uri",
        metavar="URI",
        help="database: sqlite:////path/mlflow.db (default: in ~/mdr_tune_mlflow) or postgresql://user@host/database, "
        "with the password in ~/.pgpass",
    )
    install.add_argument(
        "--artifacts-destination",
        metavar="PLACE",
        help="checkpoints, models, figures: a folder (default: ~/mdr_tune_mlflow/artifacts) or s3://bucket/prefix; "
        "clients reach them through the server, without credentials",
    )
    install.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    install.add_argument(
        "--host", default=DEFAULT_HOST, help="address to listen on; default: %(default)s, this machine alone"
    )
    install.add_argument(
        "--public-url",
        action="append",
        default=[],
        metavar="URL",
        help="https://name by which browsers reach the server through a proxy; may be repeated",
    )
    install.add_argument(
        "--basic-auth", action="store_true", help="ask for a user and a password; see docs/mlflow_server.md"
    )
