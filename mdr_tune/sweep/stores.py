"""Where a sweep writes: its storage folder and its MLflow store. Checked before anything is started."""

import http.client
import os
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from mdr_tune.errors import UserError
from mdr_tune.words import without_password as without_password

HEALTH_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Stores:
    """The storage folder (checkpoints, Tune's and Optuna's state) and the MLflow tracking URI."""

    storage: Path
    tracking_uri: str

    @property
    def shown_uri(self) -> str:
        """The tracking URI without a password, for logs, notes and the terminal."""
        return without_password(self.tracking_uri)

    @property
    def artifact_root(self) -> Path | None:
        """Folder for MLflow's artifacts when the store is a local database; a server decides for itself."""
        return self.storage / "mlartifacts" if self.tracking_uri.startswith("sqlite:") else None

    def load_command(self, model: str) -> str:
        """Return the lines that load a registered model, `NAME@ALIAS` or `NAME/VERSION`, in a fresh process."""
        return (
            f'import mlflow\nmlflow.set_tracking_uri("{self.shown_uri}")\n'
            f'model = mlflow.pytorch.load_model("models:/{model}")  # model(uint8 images (n, C, H, W))'
        )


def choose_stores(storage: str | None, tracking_uri: str | None) -> Stores:
    """Return the stores that the flags, or MLFLOW_TRACKING_URI, or the defaults name.

    Raises:
        UserError: The URI is of a kind that MLflow 3 cannot write to.
    """
    if storage is not None and "://" in storage:
        raise UserError(f"--storage {storage}: must be a folder; on a cluster, one that all nodes share (NFS, EFS)")
    folder = Path(storage or "runs").expanduser().absolute()
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
    if uri.startswith("sqlite:///"):
        uri = f"sqlite:///{Path(uri.removeprefix('sqlite:///')).expanduser().absolute()}"
    elif uri.startswith("postgresql://"):
        uri = f"postgresql+psycopg2://{uri.removeprefix('postgresql://')}"  # SQLAlchemy's own choice is not installed
    elif not uri.startswith(("http://", "https://", "postgresql", "mysql", "mssql")):
        source = "--tracking-uri" if tracking_uri else "MLFLOW_TRACKING_URI"
        raise UserError(
            f"{source} {without_password(uri)}: MLflow cannot track to this. Give a server (http://127.0.0.1:5000) or "
            f"a database (sqlite:////absolute/path/mlflow.db); without it, {folder / 'mlflow.db'} is used"
        )
    return Stores(folder, uri)


def check_stores(stores: Stores) -> None:
    """Check that both can be written, leaving nothing behind.

    Raises:
        UserError: One cannot; the text says which and why.
    """
    _check_folder(stores.storage, "--storage")
    uri = stores.tracking_uri
    if uri.startswith("sqlite:///"):
        _check_database(Path(uri.removeprefix("sqlite:///")))
    elif uri.startswith("http"):
        _check_server(uri)
    else:
        _check_other_database(stores)


def _check_folder(folder: Path, what: str) -> None:
    """Write a file into the folder, or into the nearest one above it that exists."""
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not existing.is_dir():
            raise UserError(f"{what} {folder}: {existing} is a file, not a folder; choose another place")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"{what} {folder}: cannot be written ({error.strerror}); choose a writable folder") from None


def _check_database(file: Path) -> None:
    import sqlite3

    _check_folder(file.parent, "the MLflow store in")  # SQLite puts its journal there
    if not file.exists():
        return
    try:
        connection = sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=5)
        try:
            connection.execute("PRAGMA schema_version").fetchone()
            connection.execute("BEGIN IMMEDIATE").execute("ROLLBACK")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise UserError(
            f"the MLflow store {file}: cannot be written ({error}); choose another --tracking-uri"
        ) from None


def _check_other_database(stores: Stores) -> None:
    """Connect once, with the driver that the URI names."""
    import sqlalchemy

    try:
        sqlalchemy.create_engine(stores.tracking_uri).connect().close()
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the MLflow database {stores.shown_uri} cannot be opened ({reason}); install its driver into this "
            "environment, start it, or choose another --tracking-uri"
        ) from None


def _check_server(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=HEALTH_TIMEOUT_S):
            pass
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"the MLflow server {without_password(uri)} does not answer ({reason}); start it "
            f"(mdr-tune mlflow-server install) or leave --tracking-uri and MLFLOW_TRACKING_URI out for a local store"
        ) from None
