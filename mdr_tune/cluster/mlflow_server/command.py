"""The MLflow server in the foreground: what the service runs, and runs again."""

import os
import shutil
import sys

from mdr_tune.cluster.mlflow_server.environment import server_environment
from mdr_tune.cluster.mlflow_server.settings import ServerSettings, log_file, read_settings, server_folder
from mdr_tune.util.errors import UserError

WORKERS = 2
"""Processes that answer requests, of 250 MB of memory (measured). One answers while the other takes a large file."""
LOG_LIMIT_BYTES = 10_000_000
_UVICORN_OPTIONS = "--no-access-log --timeout-worker-healthcheck 60 --timeout-graceful-shutdown 10"


def server_command(settings: ServerSettings) -> list[str]:
    """Return the command line of the server; no secret is in it."""
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


def run_server() -> None:
    """Become the server that `install` described; does not return.

    Raises:
        UserError: Nothing is installed.
    """
    settings = read_settings()
    if settings is None:
        raise UserError("there is no MLflow server to run; `mdr-tune mlflow-server install` makes one")
    _limit_log()
    os.umask(0o077)  # the data is the user's
    os.chdir(server_folder())
    command = server_command(settings)
    os.execve(command[0], command, server_environment(settings))


def _limit_log() -> None:
    """Keep the last log aside once it is large; emptied in place, since the service holds it open for appending."""
    file = log_file()
    if file.exists() and file.stat().st_size > LOG_LIMIT_BYTES:
        shutil.copyfile(file, file.with_suffix(".log.1"))
        os.truncate(file, 0)
