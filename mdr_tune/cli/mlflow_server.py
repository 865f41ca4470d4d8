"""`mdr-tune mlflow-server`: run an MLflow server that is started again after a crash."""

import argparse
import time

from rich.console import Console

from mdr_tune.cli.terminal import say
from mdr_tune.cluster.mlflow_server import service
from mdr_tune.cluster.mlflow_server.service import ServerStatus
from mdr_tune.cluster.mlflow_server.settings import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    ServerSettings,
    log_file,
    make_settings,
)
from mdr_tune.util.words import count, duration

_INSTALL = """\
Start an MLflow server on this machine and keep it running, also after a crash: as a systemd service, which comes back
after a reboot too, or elsewhere under supervisord. Returns when the server answers. A second time with the same options
nothing happens; with others the server is started again. docs/mlflow_server.md has more.
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `mlflow-server` to `commands`, the commands of mdr-tune."""
    parser = commands.add_parser("mlflow-server", help="run an MLflow server on this machine as a service")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    install = actions.add_parser("install", help="start the server and keep it running", description=_INSTALL)
    install.set_defaults(run=run_install)
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
    for name, run, text in (
        ("uninstall", run_uninstall, "end the server for good; its data stays"),
        ("status", run_status, "show whether the server runs, since when, and its settings"),
        ("run", run_run, "be the installed server, in the foreground: what the service does"),
    ):
        actions.add_parser(name, help=text).set_defaults(run=run)


def run_install(arguments: argparse.Namespace, console: Console) -> int:
    """Install the server with the settings in `arguments`, or change its settings; return 0 when the server answers."""
    settings = make_settings(
        arguments.backend_store_uri,
        arguments.artifacts_destination,
        arguments.host,
        arguments.port,
        tuple(arguments.public_url),
        arguments.basic_auth,
    )
    if not settings.listens_on_loopback_only:
        say(console, f"warning: {_warning(settings)}")
    service.install(settings, lambda sentence: say(console, sentence))
    say(console, f"Its log: {log_file()}")
    return 0


def run_uninstall(_arguments: argparse.Namespace, console: Console) -> int:
    """Stop the server, remove its service, say so on `console`, and return 0. The server's data are kept."""
    service.uninstall(lambda sentence: say(console, sentence))
    return 0


def run_status(_arguments: argparse.Namespace, console: Console) -> int:
    """Print the state and the settings of the server on `console`; return 0 if the server answers, else 1."""
    status = service.status()
    if status is None:
        say(console, "no MLflow server is installed here; `mdr-tune mlflow-server install` makes one")
        return 1
    for name, text in _rows(status):
        say(console, f"{name:<10} {text}")
    return 0 if status.answers and status.state is not None else 1


def run_run(_arguments: argparse.Namespace, _console: Console) -> int:
    """Replace this process by the installed server; this function does not return."""
    service.run_server()
    raise AssertionError("the process is the server's by now")


def _warning(settings: ServerSettings) -> str:
    who = f"whoever can reach port {settings.port} of this machine ({settings.host})"
    ways = "docs/mlflow_server.md has the safer ways: an SSH tunnel, or a proxy with TLS"
    if settings.basic_auth:
        return f"{who} can read passwords, runs and models on their way: they are not encrypted. {ways}"
    return f"{who} can read, change and delete all runs and models, without a password. {ways} and a password"


def _rows(status: ServerStatus) -> list[tuple[str, str]]:
    settings, state = status.settings, status.state
    if state is None or state.process is None:
        running = "no" if state is None else "no; it is about to be started again"
    else:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.process.create_time()))
        running = f"since {since} ({duration(time.time() - state.process.create_time())}), process {state.process.pid}"
        running += "" if status.answers else "; does not answer"
    auth = "with user and password" if settings.basic_auth else "without password"
    return [
        ("running", running),
        ("restarts", count(state.restarts, "time") if state is not None else "-"),
        ("kept by", status.keeper),
        ("address", f"{settings.address} (listens on {settings.host}, {auth})"),
        *(("", url) for url in settings.public_urls),
        ("runs", settings.backend_store_uri),
        ("artifacts", settings.artifacts_destination),
        ("log", str(log_file())),
    ]
