"""Check that the installed MLflow can work with a database, before MLflow opens the database and may change it."""

import hashlib
import os
import shlex
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mdr_tune.util.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy import Connection

ARTIFACTS = "mlartifacts"
"""Name of the folder in the storage that holds the artifacts of a local MLflow store."""
VERSION_PARAM = "versions.mlflow"
"""Name of the parameter, in a launch's run, for the version of MLflow with which the launch was recorded."""
_BUSY_S = 5.0
NEEDED_TABLES = {
    *("experiments", "runs", "metrics", "latest_metrics", "params", "tags"),
    *("registered_models", "model_versions", "registered_model_aliases", "logged_models"),
}
"""Tables of MLflow that are needed to record a sweep."""


def is_new(file: Path) -> bool:
    """Say whether `file` is empty or missing, so that MLflow would create its tables in it."""
    return not os.path.lexists(file) or (file.is_file() and file.stat().st_size == 0)


def check_file(file: Path, uri: str, what: str, writes: bool, flag: str = "--tracking-uri") -> None:
    """Check that `file` is an undamaged SQLite database with the tables of the installed MLflow, or without tables yet.

    The file is not changed.

    Args:
        file: Path of the database. It exists, but may be a link that leads nowhere.
        uri: Address of the database in the form in which MLflow gets it.
        what: Beginning of the error's text, such as `the MLflow store runs/mlflow.db`.
        writes: Whether the database must be writable.
        flag: Command line flag with which a user names another database.

    Raises:
        UserError: The database cannot be used; the text says why, and what to do.
    """
    import sqlalchemy

    problem = f"{what}: cannot be {'written' if writes else 'read'}"
    if file.is_dir():
        raise UserError(f"{problem} (it is a folder, not a file); name the file, such as {file / 'mlflow.db'}")
    if not file.is_file():
        raise UserError(f"{problem} (it is no file on a disk); choose another {flag}")
    engine = sqlalchemy.create_engine("sqlite://", creator=lambda: connect(file))
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA schema_version")
            if writes:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                connection.exec_driver_sql("ROLLBACK")
            check_whole(cast(sqlite3.Connection, connection.connection.driver_connection))
            check_schema(connection, uri, what)
    except (sqlalchemy.exc.DBAPIError, sqlite3.Error, UnicodeDecodeError) as error:
        reason = getattr(error, "orig", error)
        is_damaged = not isinstance(reason, sqlite3.OperationalError)  # which is a lock, or a missing right
        fix = f"{'restore a back-up of it, or ' if is_damaged else ''}choose another {flag}"
        raise UserError(f"{problem} ({reason}); {fix}") from None
    finally:
        engine.dispose()


def connect(file: Path) -> sqlite3.Connection:
    """Return a connection to the SQLite database in `file`, which must exist. It can write if the file is writable."""
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_S)


def check_whole(connection: sqlite3.Connection) -> None:
    """Check all pages of an SQLite database for damage.

    Raises:
        sqlite3.DatabaseError: A page is damaged. The error's text is a single line.
    """
    (damage,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if damage != "ok":
        raise sqlite3.DatabaseError(" ".join(str(damage).split()))


def check_schema(connection: "Connection", uri: str, what: str) -> None:
    """Check that a database holds the tables of the installed MLflow, or no tables at all.

    `what` is the beginning of the error's text. `uri` is the database's address, for the upgrade command in that text.

    Raises:
        UserError: The database holds tables of an older or a newer MLflow, lacks some of MLflow's tables, or belongs to
            another program.
    """
    if not _tables(connection):
        return  # MLflow creates them
    known, latest = schema_versions()
    found = _version(connection)
    if found != latest:
        _wait_for_making(uri)
        found = _version(connection)
    missing = NEEDED_TABLES - _tables(connection)
    if found == latest and missing and missing != NEEDED_TABLES:
        raise UserError(f"{what}: is damaged: it lacks MLflow's table {min(missing)}; restore a back-up of it")
    if found == latest and not missing:
        return
    if found is None or "experiments" in missing:
        raise UserError(f"{what}: holds tables that are not MLflow's, or not all of them; give an empty database")
    from mlflow.version import VERSION

    if found not in known:
        version = _recorded_version(connection)
        install = f"mlflow=={version}" if version else f"'mlflow>{VERSION}'"
        raise UserError(
            f"{what}: its tables were made by a newer MLflow than {VERSION}, which is installed here; install that "
            f"one: {sys.executable} -m pip install {install}"
        )
    command = shlex.join([sys.executable, "-m", "mlflow", "db", "upgrade", uri])
    raise UserError(
        f"{what}: its tables are those of an older MLflow than {VERSION}. Stop what uses it, make a back-up, then "
        f"bring them up to date: {command}"
    )


def schema_versions() -> tuple[set[str], str]:
    """Return the ids of all versions of MLflow's tables that the installed MLflow knows, and the latest one's id."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    scripts = ScriptDirectory.from_config(_get_alembic_config(db_url=""))
    latest = scripts.get_current_head()
    assert latest is not None
    return {script.revision for script in scripts.walk_revisions()}, latest


def _tables(connection: "Connection") -> set[str]:
    import sqlalchemy

    return set(sqlalchemy.inspect(connection).get_table_names())


def _version(connection: "Connection") -> str | None:
    if "alembic_version" not in _tables(connection):
        return None
    found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return found


def _wait_for_making(uri: str) -> None:
    """Wait until no process on this machine holds the lock with which MLflow creates tables in the database `uri`."""
    import sqlalchemy
    from mlflow.utils.file_utils import ExclusiveFileLock

    name = hashlib.md5(str(sqlalchemy.make_url(uri)).encode(), usedforsecurity=False).hexdigest()
    with ExclusiveFileLock(f"{tempfile.gettempdir()}/db_init_lock-{name}"):
        pass


def _recorded_version(connection: "Connection") -> str | None:
    """Return the newest version of MLflow that launches in the database were recorded with.

    The result is None if that version is not newer than the installed one, or if the recorded versions cannot be read.
    """
    import sqlalchemy
    from mlflow.version import VERSION
    from packaging.version import InvalidVersion, Version

    try:
        texts = connection.exec_driver_sql(f"SELECT value FROM params WHERE key = '{VERSION_PARAM}'").scalars().all()
        newest = max(map(Version, texts), default=Version(VERSION))
    except (sqlalchemy.exc.DBAPIError, InvalidVersion):  # tables of a future MLflow
        return None
    return str(newest) if newest > Version(VERSION) else None
