"""Choose the storage folder and the MLflow store of a sweep, and check them before anything is started."""

import http.client
import json
import os
import shlex
import unicodedata
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mdr_tune.config.datasets import Dataset
from mdr_tune.tracking.mlflow_database import ARTIFACTS, check_file, check_schema, is_new
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import why_not_writable
from mdr_tune.util.sqlite_address import sqlite_file, sqlite_options, sqlite_url
from mdr_tune.util.words import escaped, not_utf_8
from mdr_tune.util.words import without_password as without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

HEALTH_TIMEOUT_S = 5.0
REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"
"""Environment variable that names MLflow's store of registered models, if that store is not the store of the runs."""
_DRIVER_OPTIONS = {"timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"}
"""Options of Python's SQLite driver that an address may have after its `?`."""


@dataclass(frozen=True)
class Stores:
    """The storage folder and the MLflow store of a sweep.

    Attributes:
        storage: Absolute path of the folder with the launches: their checkpoints, and the state of Tune and Optuna.
        tracking_uri: MLflow's tracking URI, possibly with a password.
    """

    storage: Path
    tracking_uri: str

    @property
    def shown_uri(self) -> str:
        """Tracking URI without a password, for logs, notes and the terminal."""
        return without_password(self.tracking_uri)

    @property
    def database(self) -> Path | None:
        """File of the MLflow store if the store is a local database; otherwise None."""
        return sqlite_file(self.tracking_uri)

    @property
    def artifact_root(self) -> Path | None:
        """Folder for MLflow's artifacts if the store is a local database; None for a server, which chooses its own."""
        return self.storage / ARTIFACTS if self.database is not None else None

    @property
    def registry_uri(self) -> str:
        """URI of the store with the registered models: MLFLOW_REGISTRY_URI if it is set, otherwise the tracking URI."""
        return os.environ.get(REGISTRY_VARIABLE) or self.tracking_uri

    @property
    def other_registry(self) -> str | None:
        """URI of the store with the registered models, without a password; None if it is the store of the runs."""
        return None if self.registry_uri == self.tracking_uri else without_password(self.registry_uri)

    def load_command(self, model: str, data: Dataset | type[Dataset] | None = None, needs_code: bool = False) -> str:
        """Return the Python lines that load `model`, such as `NAME@ALIAS` or `NAME/VERSION`, in a fresh process.

        A comment says what the model takes: vectors if `data`, the data set of its training, has vectors, else images.
        A model that `needs_code` is no exported graph: MLflow runs the copy of the user's code that it has, with this
        package.
        """
        registry = f"mlflow.set_registry_uri({_quoted(self.other_registry)})\n" if self.other_registry else ""
        takes = (data or Dataset).model_input
        how = f'mlflow.pytorch.load_model("models:/{model}")  # model({takes})'
        if needs_code:
            how = (
                f'mlflow.pyfunc.load_model("models:/{model}")  # where mdr_tune is installed: '
                f"model.predict({takes}, a numpy array)\n"
                f"# in a shell: mdr-tune embed --model models:/{model} --code DIR --images FOLDER --out FILE.parquet "
                f"--tracking-uri {shlex.quote(self.shown_uri)}"
            )
        return f"import mlflow\nmlflow.set_tracking_uri({_quoted(self.shown_uri)})\n{registry}model = {how}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def choose_stores(storage: str | None, tracking_uri: str | None) -> Stores:
    """Return the stores that the values of the flags --storage and --tracking-uri name, or the default ones.

    Without `storage`, the storage is the folder `runs`. Without `tracking_uri`, the environment variable
    MLFLOW_TRACKING_URI names the MLflow store; if it is not set, the store is the file `mlflow.db` in the storage.

    Raises:
        UserError: The storage is a URI or has a control character, MLflow 3 cannot write to this kind of URI, a SQLite
            address is not valid, or a path is not UTF-8.
    """
    if storage is not None and "://" in storage:
        raise UserError(f"--storage {storage}: must be a folder; on a cluster, one that all nodes share (NFS, EFS)")
    folder = Path(os.path.expanduser(storage or "runs")).absolute()  # Path's own raises where ~name is no user
    if control := next((c for c in str(folder) if unicodedata.category(c) == "Cc"), None):
        raise UserError(f"--storage {str(folder)!r}: has {control!r} in it: name a folder without such characters")
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_url(folder / "mlflow.db")
    source = f"{'--tracking-uri' if tracking_uri else 'MLFLOW_TRACKING_URI'} {without_password(uri)}"
    if (file := sqlite_file(uri)) is not None:
        options = sqlite_options(uri)
        _check_options(source, file, options)
        uri = sqlite_url(Path(os.path.expanduser(file)).absolute(), options)
    elif uri.startswith("postgresql://"):
        uri = f"postgresql+psycopg2://{uri.removeprefix('postgresql://')}"  # SQLAlchemy's own choice is not installed
    elif not uri.startswith(("http://", "https://", "postgresql", "mysql", "mssql")):
        raise UserError(
            f"{source}: MLflow cannot track to this. Give a server (http://127.0.0.1:5000) or "
            f"a database (sqlite:////absolute/path/mlflow.db); without it, {folder / 'mlflow.db'} is used"
        )
    for what, text in (("--storage", str(folder)), ("--tracking-uri", uri)):
        if problem := not_utf_8(text):
            raise UserError(f"{what}: {problem}")
    return Stores(folder, uri)


def _check_options(source: str, file: Path, options: str) -> None:
    """Raise UserError if a SQLite address does not name `file` by its path, or has an option that the driver lacks.

    `options` is the text after the address's `?`. `source` is the flag or environment variable with the address.
    """
    if str(file).startswith(("file:", ":memory:")):
        raise UserError(f"{source}: must name a file by its path, such as sqlite:////absolute/path/mlflow.db")
    unknown = [part for part in options.split("&") if options and part.partition("=")[0] not in _DRIVER_OPTIONS]
    if unknown:
        raise UserError(
            f"{source}: what follows ? in an address are options, and {unknown[0]!r} is none that SQLite's driver has; "
            "write %3F for a ? in a path, or give its folder as --storage"
        )


def check_stores(stores: Stores) -> None:
    """Raise UserError if storage, MLflow store or registry of `stores` cannot be written; the check leaves no file."""
    _check_folder(stores.storage, "--storage")
    _check_store(stores.tracking_uri, "the MLflow store", writes=True)
    _check_registry(stores, writes=True)


def check_readable(stores: Stores) -> None:
    """Raise UserError if the MLflow store or the registry of `stores` does not exist or cannot be read."""
    check_exists(stores)
    _check_store(stores.tracking_uri, "the MLflow store", writes=False)
    _check_registry(stores, writes=False)


def check_exists(stores: Stores) -> None:
    """Raise UserError if the MLflow store of `stores` is a missing or empty file, in which MLflow would make tables."""
    file = stores.database
    if file is not None and is_new(file):
        raise UserError(
            f"there is no MLflow store {file}: run this where the sweep was launched, or name its store with "
            "--tracking-uri or --storage"
        )


def open_client(stores: Stores) -> "MlflowClient":
    """Return an MLflow client for checked `stores`. Every command gets its client from this function.

    If a local store was moved, its artifacts are read and written at its present place.
    """
    from mlflow import MlflowClient

    from mdr_tune.tracking.moved import follow

    if stores.database is not None:
        stores.database.parent.mkdir(parents=True, exist_ok=True)
    follow(stores.database, [stores.storage])
    return MlflowClient(stores.tracking_uri)


def record_present_place(stores: Stores, sweep: str) -> None:
    """Record the present place of the artifacts of the sweep named `sweep` in its local store, if the store was moved.

    `open_client` must have found the place before.

    Raises:
        UserError: The artifacts were not found anywhere.
    """
    from mdr_tune.tracking.moved import record_place

    if stores.database is not None:
        record_place(
            stores.database, sweep, None if stores.other_registry is None else sqlite_file(stores.registry_uri)
        )


def _check_registry(stores: Stores, writes: bool) -> None:
    registry = stores.registry_uri
    if stores.other_registry is None:
        return
    if not registry.startswith(("sqlite", "http", "postgresql", "mysql", "mssql")):
        if registry.partition(":")[0] in (registry, "file") and not registry.startswith("databricks"):
            raise UserError(
                f"{REGISTRY_VARIABLE} {escaped(registry)}: MLflow cannot register models in a folder; give a database "
                "(sqlite:////absolute/path/mlflow.db) or a server, or unset it"
            )
        if writes:
            _ask_registry(stores)
        return
    file = sqlite_file(registry)
    if file is not None and not writes and is_new(file):
        raise UserError(f"{REGISTRY_VARIABLE} {stores.other_registry}: there is no such file; unset it, or mend it")
    _check_store(registry, f"the registry of {REGISTRY_VARIABLE}", writes, REGISTRY_VARIABLE)


def _ask_registry(stores: Stores) -> None:
    """Raise UserError if a registry that may need credentials or a package, such as Databricks, does not answer."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # as for the sweep: retries take silent minutes
    from mlflow.tracking._model_registry.client import ModelRegistryClient

    try:
        ModelRegistryClient(stores.registry_uri, stores.tracking_uri).search_registered_models(max_results=1)
    except Exception as error:  # from whatever package the registry needs
        reason = next(iter(str(error).splitlines()), type(error).__name__).partition(". ")[0]
        raise UserError(
            f"{REGISTRY_VARIABLE} {stores.other_registry}: the registry cannot be asked ({reason}), and a launch "
            "registers its winner there; set up what it needs, or unset the variable"
        ) from None


def _check_store(uri: str, what: str, writes: bool, flag: str = "--tracking-uri") -> None:
    """Raise UserError if the store at `uri` cannot be read, or if it cannot be written although `writes` is True.

    `what` is the store's name in messages, such as `the MLflow store`. `flag` is the flag or environment variable by
    which a user names another store.
    """
    if (file := sqlite_file(uri)) is not None:
        if writes:
            _check_folder(file.parent, f"{what} in")  # SQLite puts its journal there
        if file.exists() or file.is_symlink():
            check_file(file, uri, f"{what} {file}", writes, flag)
    elif uri.startswith("http"):
        _check_server(uri, what, flag)
    else:
        _check_other_database(uri, what, flag)


def _check_folder(folder: Path, what: str) -> None:
    if problem := why_not_writable(folder):
        raise UserError(f"{what} {folder}: cannot be written ({problem}); choose a writable folder")


def _check_other_database(uri: str, store: str, flag: str) -> None:
    """Connect once to the database at `uri`, which is not SQLite; raise UserError if that fails.

    The driver that `uri` names may be missing. `store` and `flag` are the names of the store and of its flag in
    messages.
    """
    import sqlalchemy

    what = f"{store} {without_password(uri)}"
    try:
        engine = sqlalchemy.create_engine(uri)
        with engine.connect() as connection:
            check_schema(connection, uri, what)
        engine.dispose()
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError) as error:  # ValueError: the port is no number
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{what} cannot be opened ({reason}); install its driver into this "
            f"environment, start it, or choose another {flag}"
        ) from None


def _check_server(uri: str, store: str, flag: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=HEALTH_TIMEOUT_S):
            pass
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        local = "leave --tracking-uri and MLFLOW_TRACKING_URI out for a local store"
        raise UserError(
            f"{store.replace('store', 'server')} {without_password(uri)} does not answer ({reason}); start it "
            f"(mdr-tune mlflow-server install) or {local if flag == '--tracking-uri' else f'unset {flag}'}"
        ) from None
