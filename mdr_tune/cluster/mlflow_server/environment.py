"""The environment variables of the MLflow server: the same at every start, and with telemetry off."""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mdr_tune.cluster.mlflow_server.settings import ServerSettings, server_folder
from mdr_tune.util.errors import UserError
from mdr_tune.util.sqlite_address import sqlite_url

MARK = "MDR_TUNE_MLFLOW_SERVER"
"""Variable by which the processes of the server are found. Its value is the server's folder."""
_KEPT = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_ALWAYS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # two processes fewer, which are for evaluating language models
    "PYTHONUNBUFFERED": "1",
}
_AUTH_CONFIG = """\
[mlflow]
default_permission = READ
database_uri = {database_uri}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def environment_file() -> Path:
    """Return the file, which may not exist, in which a user may set variables for the server: lines `NAME=value`."""
    return server_folder() / "environment"


def auth_database() -> Path:
    """Return the database file with the server's users and the hashes of their passwords."""
    return server_folder() / "basic_auth.db"


def read_environment_file() -> dict[str, str]:
    """Return the variables in `environment_file`, if it exists. Raise UserError if other users may read or write it."""
    from dotenv import dotenv_values

    file = environment_file()
    if not file.exists():
        return {}
    if file.stat().st_mode & 0o077:
        raise UserError(f"{file}: other users may read or write it, and it may hold credentials; chmod 600 {file}")
    return {name: value for name, value in dotenv_values(file, interpolate=False).items() if value is not None}


def server_environment(settings: ServerSettings, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return all environment variables of the server's process under these `settings`.

    `base` is the environment of the process that starts the server. Only variables that every login sets are taken from
    it, because a variable that the user has set in one shell would be missing after a reboot. For errors, see
    `read_environment_file`.
    """
    kept = {name: base[name] for name in _KEPT if name in base}
    program_path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    home = {"HOME": str(Path.home()), "PATH": program_path, MARK: str(server_folder())}
    found = {**kept, **home, **_ALWAYS, **read_environment_file()}
    if settings.basic_auth:
        found.setdefault("MLFLOW_AUTH_CONFIG_PATH", str(_auth_config_file()))
        found.setdefault("MLFLOW_FLASK_SERVER_SECRET_KEY", _secret_key())
    return found


@contextmanager
def as_the_server(settings: ServerSettings) -> Iterator[None]:
    """Within the block, give this process the environment that the server gets from `settings`, for checks."""
    before = dict(os.environ)
    after = server_environment(settings)
    try:
        os.environ.clear()
        os.environ.update(after)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def write_auth_files() -> None:
    """Write the files for MLflow's basic authentication: a configuration, and a key against forged requests (CSRF)."""
    uri = sqlite_url(auth_database()).replace("%", "%%")  # in such a file % begins a reference
    _write_private(_auth_config_file(), _AUTH_CONFIG.format(database_uri=uri))
    if not _secret_key():
        _write_private(_secret_key_file(), secrets.token_urlsafe(32))


def _secret_key() -> str:
    return _secret_key_file().read_text().strip() if _secret_key_file().exists() else ""


def _auth_config_file() -> Path:
    return server_folder() / "basic_auth.ini"


def _secret_key_file() -> Path:
    return server_folder() / "secret_key"


def _write_private(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
