"""What an MLflow server is started with, and the folder that holds its settings, its log and, by default, its data."""

import ipaddress
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mdr_tune.util.errors import UserError
from mdr_tune.util.files import atomic_write
from mdr_tune.util.sqlite_address import sqlite_file, sqlite_options, sqlite_url
from mdr_tune.util.words import not_utf_8, without_password

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 5000
POSTGRESQL_DRIVER = "postgresql+psycopg2"
"""Said in the URI: SQLAlchemy takes another one, which is not installed, for a bare `postgresql:`."""
_ANY_ADDRESS = ("0.0.0.0", "::")


def server_folder() -> Path:
    """Return the folder of the user's MLflow server; it may not exist."""
    return Path.home() / "mdr_tune_mlflow"


@dataclass(frozen=True)
class ServerSettings:
    """Where the server keeps what it is told, and where it listens.

    Attributes:
        backend_store_uri: Database of runs, metrics and models: `sqlite:////absolute/path` or
            `postgresql+psycopg2://user@host/database`; never with a password.
        artifacts_destination: Files of the runs: an absolute folder or `s3://bucket/prefix`.
        host: Address to listen on.
        port: TCP port to listen on.
        public_urls: Further addresses, `https://name`, at which browsers and clients reach it through a proxy.
        basic_auth: Whether the server asks for a user and a password.
    """

    backend_store_uri: str
    artifacts_destination: str
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    public_urls: tuple[str, ...] = ()
    basic_auth: bool = False

    @property
    def sqlite_file(self) -> Path | None:
        """The database's file, None for PostgreSQL."""
        return sqlite_file(self.backend_store_uri)

    @property
    def artifacts_folder(self) -> Path | None:
        """The folder of the artifacts, None for S3."""
        return None if "://" in self.artifacts_destination else Path(self.artifacts_destination)

    @property
    def listens_on_loopback_only(self) -> bool:
        """Whether only processes of this machine can connect."""
        return is_loopback(self.host)

    @property
    def address(self) -> str:
        """The server's URL as this machine reaches it."""
        host = DEFAULT_HOST if self.host in _ANY_ADDRESS else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def allowed_hosts(self) -> list[str]:
        """The Host headers that are answered: loopback at any port (an SSH tunnel may end at another), and names."""
        hosts = [pattern for name in ("localhost", "127.0.0.1") for pattern in (name, f"{name}:*")]
        hosts += [urlsplit(url).netloc for url in self._reached_at()]
        if self.host in _ANY_ADDRESS:
            hosts += [f"{name}:{self.port}" for name in dict.fromkeys((socket.gethostname(), socket.getfqdn()))]
        return list(dict.fromkeys(hosts))

    @property
    def allowed_origins(self) -> list[str]:
        """The pages, beside those of loopback, whose scripts may write: the server's own, as a browser sees it."""
        return list(self._reached_at())

    def _reached_at(self) -> tuple[str, ...]:
        named = not self.listens_on_loopback_only and self.host not in _ANY_ADDRESS
        return (*((self.address,) if named else ()), *self.public_urls)

    def to_json(self) -> str:
        """Return the settings as JSON."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> "ServerSettings":
        """Return the settings that `to_json` wrote."""
        values = json.loads(text)
        return ServerSettings(**{**values, "public_urls": tuple(values["public_urls"])})


def make_settings(
    backend_store_uri: str | None = None,
    artifacts_destination: str | None = None,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    public_urls: tuple[str, ...] = (),
    basic_auth: bool = False,
) -> ServerSettings:
    """Return settings from what a user wrote, with paths made absolute; the defaults are in `server_folder`.

    Raises:
        UserError: Something has a form that cannot be right; nothing was tried yet.
    """
    backend = backend_store_uri or sqlite_url(server_folder() / "mlflow.db")
    artifacts = artifacts_destination or str(server_folder() / "artifacts")
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: must lie between 1 and 65535")
    return ServerSettings(
        _backend(backend), _artifacts(artifacts), _host(host), port, tuple(map(_public_url, public_urls)), basic_auth
    )


def write_settings(settings: ServerSettings) -> None:
    """Keep the settings for the server's next starts; the file is replaced whole or not at all."""
    file = _settings_file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with atomic_write(file, mode=0o600) as opened:
        opened.write(settings.to_json().encode())


def read_settings() -> ServerSettings | None:
    """Return the settings that `install` kept, None if there are none.

    Raises:
        UserError: The file is damaged.
    """
    try:
        return ServerSettings.from_json(_settings_file().read_text())
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{_settings_file()}: cannot be read ({error}); run `mdr-tune mlflow-server install`") from None


def forget_settings() -> None:
    """Remove the kept settings; the data stays."""
    _settings_file().unlink(missing_ok=True)


def log_file() -> Path:
    """Return the file that takes what the server prints."""
    return server_folder() / "server.log"


def is_loopback(host: str) -> bool:
    """Say whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _settings_file() -> Path:
    return server_folder() / "settings.json"


def _backend(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    if (file := sqlite_file(uri)) is not None:
        return sqlite_url(Path(os.path.expanduser(file)).absolute(), sqlite_options(uri))
    if scheme in ("postgresql", "postgres", POSTGRESQL_DRIVER):
        return _postgresql(uri, rest)
    raise UserError(
        f"--backend-store-uri {without_password(uri)}: must be sqlite:////absolute/path/mlflow.db or "
        "postgresql://user@host/database"
    )


def _postgresql(uri: str, rest: str) -> str:
    parts = urlsplit(f"//{rest}")
    if parts.password is not None or "password=" in parts.query:
        shown = without_password(uri).partition("?")[0]
        line = f"{parts.hostname or 'localhost'}:{_port_of(parts.netloc)}:{parts.path.lstrip('/')}:{parts.username}"
        raise UserError(
            f"--backend-store-uri {shown}: has a password in it, which process lists and logs would show. Put the "
            f"line {line}:PASSWORD into ~/.pgpass (chmod 600), and leave the password out here"
        )
    if not parts.path.lstrip("/"):
        raise UserError(f"--backend-store-uri {uri}: names no database; write postgresql://user@host/database")
    return f"{POSTGRESQL_DRIVER}://{rest}"


def _port_of(netloc: str) -> str:
    port = netloc.rpartition("@")[2].rpartition(":")[2]
    return port if port.isdigit() else "5432"


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
