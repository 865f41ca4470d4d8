"""Whether the MLflow server can keep its runs in a database, asked before it is started."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mdr_tune.cluster.mlflow_server.settings import ServerSettings
from mdr_tune.disk_space import check_free
from mdr_tune.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy import Connection

NEEDED_BYTES = 200_000_000
"""Free space to begin with, for a local database or local artifacts."""
_CONNECT_TIMEOUT_S = 10
_PGPASS = (
    "put the line HOST:PORT:DATABASE:USER:PASSWORD into ~/.pgpass (chmod 600), as PostgreSQL's own clients read it"
)


def check_database(settings: ServerSettings) -> None:
    """Connect to the database, and look at the version of its tables; writes nothing into it.

    Raises:
        UserError: It cannot be used; the text says why, and what to do.
    """
    import sqlalchemy

    file = settings.sqlite_file
    if file is not None:
        _check_sqlite_folder(file.parent)
        if not file.exists():
            return  # connecting would create it
    options = {"connect_timeout": _CONNECT_TIMEOUT_S} if file is None else {}
    try:
        engine = sqlalchemy.create_engine(settings.backend_store_uri, connect_args=options)
        with engine.connect() as connection:
            _check_schema(connection, settings.backend_store_uri)
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


def _check_schema(connection: "Connection", uri: str) -> None:
    """Compare the version of the tables with the one that this MLflow works with."""
    import sqlalchemy

    tables = set(sqlalchemy.inspect(connection).get_table_names())
    if not tables:
        return  # MLflow makes them
    found = None
    if "alembic_version" in tables:
        found = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
    if found is None or "experiments" not in tables:
        raise UserError(f"--backend-store-uri {uri}: holds tables that are not MLflow's; give an empty database")
    known, latest = _schema_versions()
    if found == latest:
        return
    from mlflow.version import VERSION

    if found not in known:
        raise UserError(
            f"--backend-store-uri {uri}: its tables were made by a newer MLflow than {VERSION}, which is installed "
            "here; install that one"
        )
    command = shlex.join([sys.executable, "-m", "mlflow", "db", "upgrade", uri])
    raise UserError(
        f"--backend-store-uri {uri}: its tables are those of an older MLflow than {VERSION}. Stop what uses it, make a "
        f"back-up, then bring them up to date: {command}"
    )


def _schema_versions() -> tuple[set[str], str]:
    """Return all versions of the tables that the installed MLflow knows of, and the last."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    scripts = ScriptDirectory.from_config(_get_alembic_config(db_url=""))
    latest = scripts.get_current_head()
    assert latest is not None
    return {script.revision for script in scripts.walk_revisions()}, latest


def _explained(settings: ServerSettings, error: Exception) -> str:
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    prefix = f"--backend-store-uri {settings.backend_store_uri}: "
    if settings.sqlite_file is not None:
        return f"{prefix}cannot be opened ({reason}); give the file of an MLflow database, or one that does not exist"
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
