"""Find and write the artifacts of a local store at their present place, even if the store was moved or copied.

MLflow records the place of each experiment's and run's artifacts as an absolute path. If the database was moved with
its folder of artifacts, MLflow would look for artifacts at the old place, and write new ones there. MLflow reads and
writes artifacts through a class that it calls an artifact repository. For local files, this module registers a class
that uses the present place.

Most commands leave the database as it is, because the same folder may have another path in a container or on another
machine. But a launch and an import, which add artifacts, first record the present place in the database
(`record_place`), so that MLflow's UI finds the artifacts too.
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
"""Tables and columns of MLflow's database that hold the places of artifacts."""


@dataclass(frozen=True)
class Moved:
    """Artifacts of an experiment that are not where the database says.

    Attributes:
        experiment: Name of the experiment.
        recorded: Folder of the artifacts according to the database.
        now: Folder that holds the artifacts; None if they are in none of the known places.
        looked_in: Folders that were searched besides `recorded`.
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
    """Artifact repository for local files that uses the present place of artifacts that were moved."""

    def __init__(self, artifact_uri: str, *args: Any, **named: Any) -> None:
        super().__init__(_present(artifact_uri), *args, **named)


for _scheme in ("", "file"):
    _artifact_repository_registry.register(_scheme, FollowingRepository)


def follow(database: Path | None, storages: Sequence[Path]) -> None:
    """Find out where the artifacts of the store in `database` are now, and use these places from now on.

    Besides the folder of the database, `storages` may hold the artifacts. Nothing changes for a store that was not
    moved, nor for a server, whose `database` is None. The store of an earlier call is no longer followed.
    """
    _artifact_repos_cache.clear()  # the stores may have a run in common
    _moved[:] = [] if database is None or not database.is_file() else _find(database, storages)


def moved(experiment: str) -> Moved | None:
    """Return the recorded and the present place of the artifacts of `experiment`; None if the two are the same."""
    return next((found for found in _moved if found.experiment == experiment), None)


def record_place(database: Path, experiment: str, registry: Path | None = None) -> None:
    """Write the present place of the artifacts of `experiment`, its runs and its models into `database`.

    Nothing is written if the artifacts are at the recorded place. `follow` must have been called with `database`.
    `registry` is the file of the database with the registered models; None if that is `database` or a server.

    Raises:
        UserError: The artifacts are in none of the known places.
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
    for file, places in ((registry, _IN_REGISTRY), (database, _IN_STORE)):  # the store last, as a sign that all is done
        if file is not None and file.is_file():
            _replace(file, places, old, found.now.as_uri())
    _moved.remove(found)


def _replace(database: Path, places: Sequence[tuple[str, str]], old: str, now: str) -> None:
    """Replace the address `old` by `now` in the tables and columns `places` of a `database`.

    The addresses of files and folders below `old` are changed, too.
    """
    with contextlib.closing(connect(database)) as connection, connection:
        for table, column in places:
            below = f"{column} = :old OR substr({column}, 1, length(:old) + 1) = :old || '/'"
            connection.execute(
                f"UPDATE {table} SET {column} = :now || substr({column}, length(:old) + 1) WHERE {below}",
                {"old": old, "now": now},
            )


def _find(database: Path, storages: Sequence[Path]) -> list[Moved]:
    """Return a `Moved` for each experiment whose artifacts are not where the database says."""
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
    """Return the artifact folder that `database` records for each experiment, and the subfolders that it should have.

    There is a subfolder for each run and for each logged model. Two kinds of experiments are left out: those of other
    programs, and those whose artifacts are not on a local disk.
    """
    found: dict[str, tuple[Path, list[str]]] = {}
    with contextlib.closing(connect(database)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
            return {}  # an empty file, in which MLflow will create its tables
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
    """Return the folder to use for the artifacts of an experiment; None if they are in none of the known places.

    A folder holds artifacts if it has one of `folders`, the subfolders of runs and models. Normally, the `recorded`
    folder is returned if it holds artifacts, otherwise the first of `places` that does. The first place is beside the
    database.

    A store is a copy if it has artifacts below `home`, the folder of its database, while the recorded folder is
    elsewhere. The folder of the copy is then returned, since a copy must not write into the store that it was copied
    from, even if that store still exists, or if its storage was given with --storage.

    If no known place holds artifacts, the recorded folder is returned if its parent folder exists. Otherwise the result
    is None, or the first of `places` if the experiment has no runs and no models.
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
    """Say whether the paths `one` and `other` lead to the same folder, after links are followed."""
    return one == other or one.resolve() == other.resolve()


def _present(artifact_uri: str) -> str:
    """Return the present address of the artifacts at `artifact_uri`; log a warning once for each moved experiment.

    Raises:
        UserError: The artifacts are in none of the known places.
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
