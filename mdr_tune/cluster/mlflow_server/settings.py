"""The settings of the MLflow server, and the folder for its settings, its log and, by default, its data."""

import ipaddress
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from mdr_tune.util.errors import UserError
from mdr_tune.util.files import atomic_write
from mdr_tune.util.sqlite_address import sqlite_file, sqlite_options, sqlite_url
from mdr_tune.util.words import not_utf_8, without_password

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 5000
POSTGRESQL_DRIVER = "postgresql+psycopg2"
"""Beginning of PostgreSQL's URIs: for a plain `postgresql:`, SQLAlchemy would use a driver that is not installed."""
_ANY_ADDRESS = ("0.0.0.0", "::")


def server_folder() -> Path:
    """Return the folder of the user's MLflow server. It may not exist yet."""
    return Path.home() / "mdr_tune_mlflow"


def log_file() -> Path:
    """Return the file to which the server's output is written."""
    return server_folder() / "server.log"


class ServerSettings(BaseModel):
    """Settings of the MLflow server: where it keeps its data, and on which address it listens.

    Attributes:
        backend_store_uri: URI of the database of runs, metrics and models: `sqlite:////absolute/path` or
            `postgresql+psycopg2://user@host/database`. It never has a password in it.
        artifacts_destination: Place for the files of the runs: the absolute path of a folder, or `s3://bucket/prefix`.
        host: IP address that the server listens on, or `localhost`.
        port: TCP port that the server listens on.
        public_urls: Further addresses, such as `https://mlflow.example.org`, by which the server is reached through a
            proxy.
        basic_auth: Whether the server asks for a user name and a password.
        started_with: Hash of the programs and the variables with which the server was started; empty before the start.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend_store_uri: str
    artifacts_destination: str
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    public_urls: tuple[str, ...] = ()
    basic_auth: bool = False
    started_with: str = ""

    @property
    def listens_on_loopback_only(self) -> bool:
        """Whether only processes of this machine can connect to the server."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    @property
    def address(self) -> str:
        """URL at which processes of this machine reach the server."""
        host = DEFAULT_HOST if self.host in _ANY_ADDRESS else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def allowed_hosts(self) -> list[str]:
        """Values of the HTTP header Host that the server answers: loopback addresses and the server's own names.

        Loopback addresses are answered with any port, since an SSH tunnel may use another port than the server.
        """
        hosts = [pattern for name in ("localhost", "127.0.0.1") for pattern in (name, f"{name}:*")]
        hosts += [urlsplit(url).netloc for url in self.allowed_origins]
        if self.host in _ANY_ADDRESS:
            hosts += [f"{name}:{self.port}" for name in dict.fromkeys((socket.gethostname(), socket.getfqdn()))]
        return list(dict.fromkeys(hosts))

    @property
    def allowed_origins(self) -> list[str]:
        """Origins whose web pages may change data on the server (CORS): the addresses by which browsers reach it.

        MLflow allows pages of loopback addresses anyway.
        """
        is_named = not self.listens_on_loopback_only and self.host not in _ANY_ADDRESS
        return [*([self.address] if is_named else []), *self.public_urls]


def make_settings(
    backend_store_uri: str | None = None,
    artifacts_destination: str | None = None,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    public_urls: tuple[str, ...] = (),
    basic_auth: bool = False,
) -> ServerSettings:
    """Return the `ServerSettings` for a user's options. By default, the data is in `server_folder`.

    The arguments are fields of `ServerSettings`; paths may be relative. Raise UserError if an argument has a wrong
    form. Whether the server can use the database and write the artifacts is not checked.
    """
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: must lie between 1 and 65535")
    return ServerSettings(
        backend_store_uri=_backend(backend_store_uri or sqlite_url(server_folder() / "mlflow.db")),
        artifacts_destination=_artifacts(artifacts_destination or str(server_folder() / "artifacts")),
        host=_host(host),
        port=port,
        public_urls=tuple(map(_public_url, public_urls)),
        basic_auth=basic_auth,
    )


def write_settings(settings: ServerSettings) -> None:
    """Write `settings` to the file that the server reads at each start. The file is replaced atomically."""
    file = _settings_file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with atomic_write(file, mode=0o600) as opened:
        opened.write(settings.model_dump_json(indent=1).encode())


def read_settings() -> ServerSettings | None:
    """Return the settings that `install` has written, None if there are none. Raise UserError if they are damaged."""
    try:
        return ServerSettings.model_validate_json(_settings_file().read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(
            f"{_settings_file()}: cannot be read ({reason}); run `mdr-tune mlflow-server install`"
        ) from None


def forget_settings() -> None:
    """Remove the file of settings. The server's data stays."""
    _settings_file().unlink(missing_ok=True)


def _settings_file() -> Path:
    return server_folder() / "settings.json"


def _backend(uri: str) -> str:
    if (file := sqlite_file(uri)) is not None:
        return sqlite_url(Path(os.path.expanduser(file)).absolute(), sqlite_options(uri))
    scheme, _, rest = uri.partition("://")
    if scheme not in ("postgresql", "postgres", POSTGRESQL_DRIVER):
        raise UserError(
            f"--backend-store-uri {without_password(uri)}: must be sqlite:////absolute/path/mlflow.db or "
            "postgresql://user@host/database"
        )
    parts = urlsplit(f"//{rest}")
    database = parts.path.lstrip("/")
    if parts.password is not None or "password=" in parts.query:
        port = parts.netloc.rpartition("@")[2].partition(":")[2] or "5432"
        raise UserError(
            f"--backend-store-uri {without_password(uri).partition('?')[0]}: has a password in it, which process lists "
            f"and logs would show. Put the line {parts.hostname or 'localhost'}:{port}:{database}:{parts.username}:"
            "PASSWORD into ~/.pgpass (chmod 600), and leave the password out here"
        )
    if not database:
        raise UserError(f"--backend-store-uri {uri}: names no database; write postgresql://user@host/database")
    return f"{POSTGRESQL_DRIVER}://{rest}"


def _artifacts(place: str) -> str:
    scheme, separator, rest = place.partition("://")
    if problem := not_utf_8(place):
        raise UserError(f"--artifacts-destination {problem}")
    if not separator:
        return str(Path(os.path.expanduser(place)).absolute())
    if scheme == "s3" and rest.split("/")[0]:
        return place.rstrip("/")
    raise UserError(f"--artifacts-destination {place}: must be a folder or s3://bucket/prefix")


def _host(host: str) -> str:
    bare = host.strip("[]")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        if bare != "localhost":
            raise UserError(
                f"--host {host}: must be an address of this machine, such as 127.0.0.1 (this machine alone can "
                "connect) or 0.0.0.0 (everyone who can reach it)"
            ) from None
    return bare


def _public_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or "@" in parts.netloc:
        raise UserError(f"--public-url {without_password(url)}: must have the form https://mlflow.example.org")
    return f"{parts.scheme}://{parts.netloc}"
