"""Whether the MLflow server can keep its runs in a database, asked before it is started."""

import sys
from pathlib import Path

from mdr_tune.cluster.mlflow_server.settings import ServerSettings
from mdr_tune.tracking.mlflow_database import check_file, check_schema
from mdr_tune.util.disk_space import check_free
from mdr_tune.util.errors import UserError

NEEDED_BYTES = 200_000_000
"""Free space to begin with, for a local database or local artifacts."""
_CONNECT_TIMEOUT_S = 10
_FLAG = "--backend-store-uri"
_PGPASS = (
    "put the line HOST:PORT:DATABASE:USER:PASSWORD into ~/.pgpass (chmod 600), as PostgreSQL's own clients read it"
)


def check_database(settings: ServerSettings) -> None:
    """Connect to the database, and look at the version of its tables; writes nothing into it.

    Raises:
        UserError: It cannot be used; the text says why, and what to do.
    """
    import sqlalchemy

    file, uri = settings.sqlite_file, settings.backend_store_uri
    what = f"{_FLAG} {uri}"
    if file is not None:
        _check_sqlite_folder(file.parent)
        if file.exists() or file.is_symlink():  # else connecting would create it
            check_file(file, uri, what, writes=True, flag=_FLAG)
        return
    try:
        engine = sqlalchemy.create_engine(uri, connect_args={"connect_timeout": _CONNECT_TIMEOUT_S})
        with engine.connect() as connection:
            check_schema(connection, uri, what)
        engine.dispose()
    except ImportError as error:
        raise UserError(
            f"--backend-store-uri {settings.backend_store_uri}: its driver is not installed ({error}); "
            f"{sys.executable} -m pip install psycopg2-binary"
        ) from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise UserError(_explained(settings, error)) from None


def check_writable(folder: Path, flag: str) -> None:
    """Make the folder, and check that it can be written and that its disk has room.

    Raises:
        UserError: It cannot, or has not.
    """
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{flag} {folder}: cannot be written ({error.strerror}); choose a writable folder") from None
    check_free(folder, NEEDED_BYTES, "for the MLflow server")


def _check_sqlite_folder(folder: Path) -> None:
    check_writable(folder, "--backend-store-uri: the folder")


def _explained(settings: ServerSettings, error: Exception) -> str:
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    prefix = f"--backend-store-uri {settings.backend_store_uri}: "
    if "no password supplied" in reason or "password authentication failed" in reason:
        return f"{prefix}the password is missing or wrong ({reason}); {_PGPASS}"
    if "root certificate" in reason:
        fix = (
            "copy the certificate of the authority that signed the database's to ~/.postgresql/root.crt of this "
            "machine, or append &sslrootcert=FILE; docs/mlflow_server.md has more"
        )
        return f"{prefix}{reason}; {fix}"
    if "does not exist" in reason:
        fix = "create it, as a superuser of PostgreSQL: createuser --pwprompt USER, createdb --owner USER DATABASE"
        return f"{prefix}{reason}; {fix}"
    return f"{prefix}cannot be reached ({reason}); start PostgreSQL, and let it listen at this address"
