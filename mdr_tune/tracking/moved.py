"""Artifacts of a local store that was moved or copied are found, and written, where the store is now.

MLflow records the place of each experiment's and run's artifacts as an absolute path. Where the database has moved with
its folder of artifacts, MLflow would look for them at the old place, and write new ones there. The repository of local
artifacts that is registered here takes what is recorded below a place that has moved as below the present one. The
database stays as it is: the same folder may have another path in a container or on another machine. A launch, which
goes on writing, records the present place (`record_place`), so that MLflow's UI finds the artifacts too.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from mlflow.utils.file_utils import local_file_uri_to_path

from mdr_tune.tracking.mlflow_database import ARTIFACTS, connect
from mdr_tune.util.errors import UserError

logger = logging.getLogger(__name__)

_IN_REGISTRY = (("model_versions", "storage_location"), ("model_versions", "source"))
_IN_STORE = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    *_IN_REGISTRY,
)
"""Tables and columns of MLflow with the places of artifacts."""


@dataclass(frozen=True)
class Moved:
    """The artifacts of an experiment that are not where the database says.

    Attributes:
        experiment: Name of the experiment.
        recorded: Folder of its artifacts as the database has it.
        now: The folder where they are; None if they are neither there nor in a place that was given.
        looked_in: Folders that were looked for.
    """

    experiment: str
    recorded: Path
    now: Path | None
    looked_in: tuple[Path, ...]

    def __str__(self) -> str:
        if self.now is not None:
            return f"the artifacts of {self.experiment} are in {self.now}; the MLflow store has {self.recorded}"
        looked = " or ".join(map(str, self.looked_in))
        return (
            f"the artifacts of {self.experiment} are not in {self.recorded}, which the MLflow store has, nor in "
            f"{looked}: if the store was moved, give its folder with --storage; if its artifacts were left behind, "
            "move them there"
        )


_moved: list[Moved] = []
_told: set[Moved] = set()


class FollowingRepository(LocalArtifactRepository):
    """Local artifacts, below the present place of what has moved."""

    def __init__(self, artifact_uri: str, *args: Any, **named: Any) -> None:
        super().__init__(_present(artifact_uri), *args, **named)


for _scheme in ("", "file"):
    _artifact_repository_registry.register(_scheme, FollowingRepository)


def follow(database: Path | None, storages: Sequence[Path]) -> None:
    """From now on, take artifacts of a store that has moved as where the store is; a store that has not stays as it is.

    Args:
        database: File of the store; None if the store is a server, which decides for itself.
        storages: Folders that may hold the store's artifacts, beside the database's own.
    """
    _artifact_repos_cache.clear()  # of a run that another store has too
    _moved[:] = [] if database is None or not database.is_file() else _find(database, storages)


def moved(experiment: str) -> Moved | None:
    """Return where the artifacts of an experiment went; None if they are where the store that is followed says."""
    return next((found for found in _moved if found.experiment == experiment), None)


def record_place(database: Path, experiment: str, registry: Path | None = None) -> None:
    """Record the present place of an experiment's artifacts in the database, of its runs and models too.

    Args:
        database: File of the store, which is followed.
        experiment: Name of the experiment.
        registry: File of the registry, if that is another one.

    Raises:
        UserError: They are nowhere.
        sqlite3.OperationalError: The database cannot be written.
    """
    found = moved(experiment)
    if found is None:
        return
    if found.now is None:
        raise UserError(str(found))
    with contextlib.closing(connect(database)) as connection, connection:
        (old,) = connection.execute(
            "SELECT artifact_location FROM experiments WHERE name = ?", (experiment,)
        ).fetchone()
    for file, places in ((registry, _IN_REGISTRY), (database, _IN_STORE)):  # the store last: it says that all is done
        if file is not None and file.is_file():
            _replace(file, places, old, found.now.as_uri())
    _moved.remove(found)


def _replace(database: Path, places: Sequence[tuple[str, str]], old: str, now: str) -> None:
    """Write another place for a folder and all that is below it into the tables and columns that are given."""
    with contextlib.closing(connect(database)) as connection, connection:
        for table, column in places:
            below = f"{column} = :old OR substr({column}, 1, length(:old) + 1) = :old || '/'"
            connection.execute(
                f"UPDATE {table} SET {column} = :now || substr({column}, length(:old) + 1) WHERE {below}",
                {"old": old, "now": now},
            )


def _find(database: Path, storages: Sequence[Path]) -> list[Moved]:
    """Return the experiments whose artifacts are not where the database says."""
    home = database.parent
    roots = list(dict.fromkeys(folder / ARTIFACTS for folder in (home, *storages)))
    found = []
    for name, (recorded, folders) in _recorded(database).items():
        places = tuple(root / recorded.name for root in roots)
        now = _place_of(recorded, folders, places, home)
        if now != recorded:
            found.append(Moved(name, recorded, now, places))
    return found


def _recorded(database: Path) -> dict[str, tuple[Path, list[str]]]:
    """Return the local folder of each experiment of this program, and the folders of runs and models expected in it."""
    found: dict[str, tuple[Path, list[str]]] = {}
    with contextlib.closing(connect(database)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
            return {}  # an empty file, in which MLflow makes its tables
        for name, location, folder in connection.execute(
            "SELECT e.name, e.artifact_location, f.folder FROM experiments e LEFT JOIN ("
            "SELECT experiment_id, run_uuid AS folder FROM runs UNION "
            "SELECT experiment_id, 'models/' || model_id FROM logged_models) f ON f.experiment_id = e.experiment_id"
        ):
            if not location or not location.startswith(("file:", "/")):
                continue
            place = Path(local_file_uri_to_path(location))
            if place.parent.name == ARTIFACTS:
                found.setdefault(name, (place, []))[1].extend([folder] if folder else [])
    return found


def _place_of(recorded: Path, folders: Sequence[str], places: Sequence[Path], home: Path) -> Path | None:
    """Return where the artifacts of an experiment are; None if they are nowhere.

    A copy, whose original is still there, has them below the copied database's folder, while the database has a place
    that is not: it must not write into the original, even where a storage that was given is the original's.

    Args:
        recorded: Folder that the database has.
        folders: Folders of runs and models that are expected in it.
        places: Folders that may be it; the first is beside the database.
        home: Folder of the database.
    """

    def has_artifacts(place: Path) -> bool:
        return any((place / folder).is_dir() for folder in folders)

    is_one = [_same(recorded, place) for place in places]
    if is_one[0]:
        return recorded
    is_there = has_artifacts(recorded)
    for place in places:
        is_copy = home in place.parents and home not in recorded.parents
        if has_artifacts(place) and (is_copy or not is_there):
            return place
    if is_there or recorded.parent.is_dir() or (any(is_one) and not folders):
        return recorded
    return None if folders else places[0]


def _same(one: Path, other: Path) -> bool:
    """Say whether two paths are of one folder, by whatever links."""
    return one == other or one.resolve() == other.resolve()


def _present(artifact_uri: str) -> str:
    """Return the address of artifacts as they are now.

    Raises:
        UserError: They are nowhere.
    """
    if not _moved:
        return artifact_uri
    path = Path(local_file_uri_to_path(artifact_uri))
    for found in _moved:
        if path == found.recorded or found.recorded in path.parents:
            if found.now is None:
                raise UserError(str(found))
            if found not in _told:
                _told.add(found)
                logger.warning("%s", found)
            return (found.now / path.relative_to(found.recorded)).as_uri()
    return artifact_uri
