"""The MLflow server as a service: installed once, there again after a crash and a reboot, until it is uninstalled."""

import hashlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mdr_tune.cluster.mlflow_server.artifact_folder import check_artifacts
from mdr_tune.cluster.mlflow_server.databases import check_database
from mdr_tune.cluster.mlflow_server.detached import DetachedService
from mdr_tune.cluster.mlflow_server.environment import (
    as_the_server,
    auth_database,
    environment_file,
    read_environment_file,
    server_environment,
    write_auth_files,
)
from mdr_tune.cluster.mlflow_server.ports import check_port
from mdr_tune.cluster.mlflow_server.settings import (
    ServerSettings,
    forget_settings,
    log_file,
    make_settings,
    read_settings,
    server_folder,
    write_settings,
)
from mdr_tune.cluster.mlflow_server.state import Service, ServiceState
from mdr_tune.cluster.mlflow_server.systemd import SystemdService, runs_systemd
from mdr_tune.util.errors import UserError

START_TIMEOUT_S = 240.0
"""Imports, and the tables of a new database, on a slow machine."""
FAILED_AFTER_RESTARTS = 2
LOG_LINES = 15
_HEALTH_TIMEOUT_S = 5.0
_POLL_S = 0.5
_FIXES = {
    "address already in use": "the port is taken; end what listens there, or choose another --port",
    "disk is full": "make room on the disk",
    "No space left on device": "make room on the disk",
    "out-of-date database schema": "make a back-up, then run the command that the log names",
    "password authentication failed": "put the password into ~/.pgpass (chmod 600)",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "choose another MLFLOW_AUTH_ADMIN_PASSWORD",
}


@dataclass(frozen=True)
class ServerStatus:
    """An installed server.

    Attributes:
        settings: What it was installed with.
        keeper: What keeps it running, in words.
        state: How that is; None if nothing keeps it running.
        answers: Whether it answers now.
    """

    settings: ServerSettings
    keeper: str
    state: ServiceState | None
    answers: bool


def install(settings: ServerSettings, tell: Callable[[str], None]) -> ServerStatus:
    """Have the server running with these settings, from now on; returns when it answers.

    Does nothing if it runs with the same settings, packages and variables; else it is started again.

    Args:
        settings: See `make_settings`.
        tell: Is told what is done, in sentences.

    Raises:
        UserError: Something that the server needs is missing, or it does not start; then it is not installed.
    """
    service = make_service(settings)
    before = read_settings()
    is_running = before is not None and service.state() is not None
    if before == settings and is_running and _fingerprint(settings) == _kept_fingerprint() and answers(settings):
        tell("The MLflow server runs already, with these settings")
        return status_of(settings, service)
    check_settings(settings)
    if before is not None and is_running:
        if before.port != settings.port:  # else its own server has it
            check_port(settings.host, settings.port)
        tell("The MLflow server is stopped, to be started with other settings")
    service.stop()  # also what a killed supervisor left behind
    check_port(settings.host, settings.port)
    return _start(settings, service, tell)


def uninstall(tell: Callable[[str], None]) -> None:
    """End the server for good; what it kept stays.

    Args:
        tell: Is told what is done, in sentences.

    Raises:
        UserError: It is another user's.
    """
    settings = read_settings()
    make_service(settings or make_settings()).stop()
    forget_settings()
    _fingerprint_file().unlink(missing_ok=True)
    if settings is None:
        tell("There is no MLflow server installed")
    else:
        tell(
            f"The MLflow server is gone. Its data is still in {settings.backend_store_uri} and "
            f"{settings.artifacts_destination}"
        )


def status() -> ServerStatus | None:
    """Return how the server is, None if there is none installed.

    Raises:
        UserError: Its settings cannot be read.
    """
    settings = read_settings()
    return None if settings is None else status_of(settings, make_service(settings))


def status_of(settings: ServerSettings, service: Service) -> ServerStatus:
    """Return how a server is that was installed with these settings."""
    return ServerStatus(settings, service.description, service.state(), answers(settings))


def make_service(settings: ServerSettings) -> Service:
    """Return what keeps a server running on this machine."""
    return SystemdService() if runs_systemd() else DetachedService(settings)


def check_settings(settings: ServerSettings) -> None:
    """Check everything that the server needs but the port, as the server will see it; starts nothing.

    Raises:
        UserError: Something is missing; the text says what to do.
    """
    if settings.basic_auth:
        _check_auth(settings)
    with as_the_server(settings):
        check_database(settings)
        check_artifacts(settings)


def answers(settings: ServerSettings) -> bool:
    """Say whether an MLflow server answers at the address."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is here, whatever proxy there may be
    try:
        with opener.open(f"{settings.address}/health", timeout=_HEALTH_TIMEOUT_S) as response:
            return bool(response.read() == b"OK")
    except (urllib.error.URLError, OSError):
        return False


def _start(settings: ServerSettings, service: Service, tell: Callable[[str], None]) -> ServerStatus:
    if settings.basic_auth:
        write_auth_files()
    write_settings(settings)
    _fingerprint_file().write_text(_fingerprint(settings))
    log_begins = log_file().stat().st_size if log_file().exists() else 0
    tell("The MLflow server starts, which takes half a minute, with a new database more")
    after_reboot = service.start()
    if not _wait_until_it_answers(settings, service):
        service.stop()
        forget_settings()
        raise UserError(_why_it_failed(log_begins))
    tell(f"The MLflow server answers at {settings.address}. {after_reboot}")
    return status_of(settings, service)


def _wait_until_it_answers(settings: ServerSettings, service: Service) -> bool:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        state = service.state()
        if state is None or state.restarts >= FAILED_AFTER_RESTARTS:
            return False
        if state.process is not None and answers(settings):
            return True
        time.sleep(_POLL_S)
    return False


def _why_it_failed(log_begins: int) -> str:
    """Return the error of a start that failed: the last lines of the log, and what to do if that is known."""
    text = log_file().read_bytes()[log_begins:].decode(errors="replace") if log_file().exists() else ""
    lines = [line for line in text.splitlines() if not _is_of_a_traceback(line)][-LOG_LINES:]
    fix = next((fix for sign, fix in _FIXES.items() if sign in text), "see the log")
    return "\n".join([f"the MLflow server does not start: {fix}. The end of {log_file()}:", *lines])


def _is_of_a_traceback(line: str) -> bool:
    """Say whether a line of the log is empty, or leads to the line that names the error."""
    return not line.strip() or line[0].isspace() or line.startswith(("Traceback", "During handling", "The above"))


def _check_auth(settings: ServerSettings) -> None:
    """Check the package that MLflow's basic authentication needs, and the first password."""
    environment = server_environment(settings)
    import_it = [sys.executable, "-c", "import flask_wtf"]
    if subprocess.run(import_it, env=environment, capture_output=True, check=False).returncode != 0:
        raise UserError(
            f"--basic-auth: needs a package that is not installed; {sys.executable} -m pip install 'Flask-WTF<2'"
        )
    if not auth_database().exists() and not environment.get("MLFLOW_AUTH_ADMIN_PASSWORD"):
        raise UserError(
            f"--basic-auth: the user `admin` has no password yet; put the line MLFLOW_AUTH_ADMIN_PASSWORD=... into "
            f"{environment_file()} (chmod 600)"
        )


def _fingerprint(settings: ServerSettings) -> str:
    """Return what must be the same for a running server to be left alone: settings, programs, variables."""
    programs = [sys.executable, str(Path(__file__).parent), version("mlflow")]
    variables = sorted(read_environment_file().items())
    text = repr([settings.to_json(), programs, variables, os.getuid()])
    return hashlib.sha256(text.encode()).hexdigest()


def _kept_fingerprint() -> str:
    try:
        return _fingerprint_file().read_text()
    except FileNotFoundError:
        return ""


def _fingerprint_file() -> Path:
    return server_folder() / "started_with"
