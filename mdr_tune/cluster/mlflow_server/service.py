"""Install the MLflow server as a service, which is started again after a crash until it is uninstalled."""

import hashlib
import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from mdr_tune.cluster.mlflow_server.environment import (
    as_the_server,
    auth_database,
    environment_file,
    read_environment_file,
    server_environment,
    write_auth_files,
)
from mdr_tune.cluster.mlflow_server.keepers import Keeper, KeeperState, Supervisord, end_left_over, make_keeper
from mdr_tune.cluster.mlflow_server.settings import (
    ServerSettings,
    forget_settings,
    log_file,
    read_settings,
    server_folder,
    write_settings,
)
from mdr_tune.cluster.mlflow_server.store_checks import check_artifacts, check_database, check_port
from mdr_tune.util.errors import UserError

START_TIMEOUT_S = 240.0
"""Seconds in which the server must answer. A slow machine needs them to import MLflow and to make a database."""
FAILED_AFTER_RESTARTS = 2
LOG_LINES = 15
LOG_LIMIT_BYTES = 10_000_000
WORKERS = 2
"""Number of processes that answer requests; each takes 250 MB. One answers while the other receives a file."""
_UVICORN_OPTIONS = "--no-access-log --timeout-worker-healthcheck 60 --timeout-graceful-shutdown 10"
_HEALTH_TIMEOUT_S = 5.0
_POLL_S = 0.5


@dataclass(frozen=True)
class ServerStatus:
    """Status of a server that was installed with `settings`, and whether it `answers` now.

    `keeper` names the program that should keep the server running, systemd or supervisord. `state` is None if that
    program does not run the server.
    """

    settings: ServerSettings
    keeper: str
    state: KeeperState | None
    answers: bool


def install(settings: ServerSettings, tell: Callable[[str], None]) -> ServerStatus:
    """Install the server with `settings` from `make_settings`, start it, and wait until it answers.

    If a server runs already, it is stopped first. Nothing happens if it runs with the same settings, the same MLflow
    and the same variables in `environment_file`. `tell` is called with a sentence for the user about each step.

    Raises:
        UserError: Something that the server needs is missing, or the server does not start. In the second case, no
            server is installed any more.
    """
    settings = settings.model_copy(update={"started_with": _fingerprint()})
    keeper = make_keeper()
    before = read_settings()
    is_running = before is not None and keeper.state() is not None
    if before == settings and is_running and answers(settings):
        tell("The MLflow server runs already, with these settings")
        return _status_of(settings, keeper)
    check_settings(settings)
    if before is not None and is_running:
        if before.port != settings.port:  # else its own server has it
            check_port(settings.port)
        tell("The MLflow server is stopped, to be started with other settings")
    keeper.stop()  # also what a killed supervisord left behind
    check_port(settings.port)
    return _start(settings, keeper, tell)


def uninstall(tell: Callable[[str], None]) -> None:
    """Stop the server for good; its data stays. `tell` is called with a sentence for the user about the result.

    Raises:
        UserError: The server belongs to another user.
    """
    settings = read_settings()
    make_keeper().stop()
    forget_settings()
    if settings is None:
        tell("There is no MLflow server installed")
    else:
        tell(
            f"The MLflow server is gone. Its data is still in {settings.backend_store_uri} and "
            f"{settings.artifacts_destination}"
        )


def status() -> ServerStatus | None:
    """Return the status of the server, None if none is installed. Raise UserError if its settings are damaged."""
    settings = read_settings()
    return None if settings is None else _status_of(settings, make_keeper())


def run_server() -> None:
    """Replace this process by the server that `install` set up. Raise UserError if none is installed."""
    settings = read_settings()
    if settings is None:
        raise UserError("there is no MLflow server to run; `mdr-tune mlflow-server install` makes one")
    if isinstance(make_keeper(), Supervisord):  # systemd ends all processes of its unit by itself
        end_left_over()
    limit_log()
    os.umask(0o077)  # the data is the user's
    os.chdir(server_folder())
    command = server_command(settings)
    os.execve(command[0], command, server_environment(settings))


def server_command(settings: ServerSettings) -> list[str]:
    """Return the command that starts the server with these `settings`. It has no secret in it."""
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--backend-store-uri", settings.backend_store_uri]
    command += ["--artifacts-destination", settings.artifacts_destination, "--serve-artifacts"]
    command += ["--host", settings.host, "--port", str(settings.port), "--workers", str(WORKERS)]
    command += ["--allowed-hosts", ",".join(settings.allowed_hosts)]
    if settings.allowed_origins:
        command += ["--cors-allowed-origins", ",".join(settings.allowed_origins)]
    if settings.basic_auth:
        command += ["--app-name", "basic-auth"]
    return [*command, "--uvicorn-opts", _UVICORN_OPTIONS]


def limit_log() -> None:
    """If the log has more than LOG_LIMIT_BYTES, copy it to a second file, `server.log.1`, and empty the log itself.

    The log is not renamed, because the keeper has it open and appends to it.
    """
    file = log_file()
    if file.exists() and file.stat().st_size > LOG_LIMIT_BYTES:
        shutil.copyfile(file, file.with_suffix(".log.1"))
        os.truncate(file, 0)


def check_settings(settings: ServerSettings) -> None:
    """Raise UserError unless the server can use the database and the place for artifacts in `settings`.

    With basic authentication, the user `admin` must also have a password. The checks run in the environment that the
    server will have. The port is not checked here.
    """
    if settings.basic_auth:
        _check_auth(settings)
    with as_the_server(settings):
        check_database(settings.backend_store_uri)
        check_artifacts(settings.artifacts_destination)


def answers(settings: ServerSettings) -> bool:
    """Return whether an MLflow server answers at the address in `settings`."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy: it is on this machine
    try:
        with opener.open(f"{settings.address}/health", timeout=_HEALTH_TIMEOUT_S) as response:
            return bool(response.read() == b"OK")
    except OSError:
        return False


def _status_of(settings: ServerSettings, keeper: Keeper) -> ServerStatus:
    return ServerStatus(settings, keeper.description, keeper.state(), answers(settings))


def _start(settings: ServerSettings, keeper: Keeper, tell: Callable[[str], None]) -> ServerStatus:
    if settings.basic_auth:
        write_auth_files()
    write_settings(settings)
    log_begins = log_file().stat().st_size if log_file().exists() else 0
    tell("The MLflow server starts, which takes half a minute, with a new database more")
    try:
        after_reboot = keeper.start()
        _wait_until_it_answers(settings, keeper, log_begins)
    except UserError:
        keeper.stop()
        forget_settings()
        raise
    tell(f"The MLflow server answers at {settings.address}. {after_reboot}")
    return _status_of(settings, keeper)


def _wait_until_it_answers(settings: ServerSettings, keeper: Keeper, log_begins: int) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        state = keeper.state()
        if state is None or state.restarts >= FAILED_AFTER_RESTARTS:
            break
        if state.process is not None and answers(settings):
            return
        time.sleep(_POLL_S)
    text = log_file().read_bytes()[log_begins:].decode(errors="replace") if log_file().exists() else ""
    lines = [line for line in text.splitlines() if line.strip() and not line[0].isspace()][-LOG_LINES:]
    raise UserError("\n".join([f"the MLflow server does not start. The end of {log_file()}:", *lines]))


def _check_auth(settings: ServerSettings) -> None:
    """Raise UserError unless the package for basic authentication is installed and the user `admin` has a password."""
    if find_spec("flask_wtf") is None:
        raise UserError(
            f"--basic-auth: needs a package that is not installed; {sys.executable} -m pip install 'Flask-WTF<2'"
        )
    if not auth_database().exists() and not server_environment(settings).get("MLFLOW_AUTH_ADMIN_PASSWORD"):
        raise UserError(
            f"--basic-auth: the user `admin` has no password yet; put the line MLFLOW_AUTH_ADMIN_PASSWORD=... into "
            f"{environment_file()} (chmod 600)"
        )


def _fingerprint() -> str:
    """Return a hash of the server's programs and variables. `install` starts the server again if the hash changes."""
    programs = [sys.executable, str(Path(__file__).parent), version("mlflow"), os.getuid()]
    return hashlib.sha256(repr([programs, sorted(read_environment_file().items())]).encode()).hexdigest()
