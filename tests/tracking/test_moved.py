"""A local store that was moved or copied: its artifacts are read and written where it is now."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from mlflow import MlflowClient

from mdr_tune.tracking import moved
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.moved import follow, record_place
from mdr_tune.util.errors import UserError
from mdr_tune.util.sqlite_address import sqlite_url


class Store(NamedTuple):
    folder: Path
    run_id: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(sqlite_url(self.folder / "mlflow.db"))

    def read(self) -> str:
        """Return the artifact of the run."""
        return Path(self.client.download_artifacts(self.run_id, "sweep.yaml")).read_text()

    def files(self) -> list[str]:
        """Return the artifacts below the store's folder."""
        root = self.folder / "mlartifacts"
        return sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("template") / "runs"
    folder.mkdir()
    client = MlflowClient(sqlite_url(folder / "mlflow.db"))
    run_id = client.create_run(open_experiment(client, "letters", folder / "mlartifacts")).info.run_id
    client.log_text(run_id, "name: letters", "sweep.yaml")
    return Store(folder, run_id)


@pytest.fixture
def store(template: Store, tmp_path: Path) -> Iterator[Store]:
    """A store in a folder of its own, which its database has as the place of its artifacts."""
    there = Store(tmp_path / "runs", template.run_id)
    shutil.copytree(template.folder, there.folder)
    follow(there.folder / "mlflow.db", [])
    record_place(there.folder / "mlflow.db", "letters")
    yield there
    moved.follow(None, [])


def move(store: Store, to: Path) -> Store:
    shutil.move(store.folder, to)
    follow(to / "mlflow.db", [])
    return Store(to, store.run_id)


def test_a_store_that_is_where_it_was_is_left_alone(store: Store) -> None:
    follow(store.folder / "mlflow.db", [store.folder])
    assert moved.moved("letters") is None
    assert store.read() == "name: letters"
    assert store.client.get_run(store.run_id).info.artifact_uri.startswith(store.folder.as_uri())


def test_a_moved_store_is_read_and_written_where_it_is(store: Store, tmp_path: Path) -> None:
    there = move(store, tmp_path / "else where?")
    assert there.read() == "name: letters"
    there.client.log_text(there.run_id, "new", "report/index.html")
    another = there.client.create_run(there.client.get_experiment_by_name("letters").experiment_id).info.run_id
    there.client.log_text(another, "new", "new.txt")
    written = [f"{another}/artifacts/new.txt", f"{store.run_id}/artifacts/report/index.html"]
    assert there.files() == sorted(f"letters/{file}" for file in [*written, f"{store.run_id}/artifacts/sweep.yaml"])
    assert not store.folder.exists()


def test_the_database_is_left_as_it_is_until_a_launch_records_the_place(store: Store, tmp_path: Path) -> None:
    there = move(store, tmp_path / "elsewhere")
    there.read()
    before = there.client.get_run(there.run_id).info.artifact_uri
    assert before.startswith(store.folder.as_uri())
    record_place(there.folder / "mlflow.db", "letters")
    follow(None, [])  # as in MLflow's UI
    assert there.client.get_run(there.run_id).info.artifact_uri == before.replace("/runs/", "/elsewhere/")
    experiment = there.client.get_experiment_by_name("letters")
    assert experiment.artifact_location == (tmp_path / "elsewhere" / "mlartifacts" / "letters").as_uri()
    assert there.read() == "name: letters"


def test_models_in_a_registry_of_their_own_are_recorded_too(store: Store, tmp_path: Path) -> None:
    there = move(store, tmp_path / "elsewhere")
    registry = shutil.copy(there.folder / "mlflow.db", tmp_path / "registry.db")
    models = MlflowClient(sqlite_url(registry))
    models.create_registered_model("letters")
    source = f"{store.folder.as_uri()}/mlartifacts/letters/{store.run_id}/artifacts/model"
    of_others = f"{store.folder.as_uri()}/mlartifacts/letters_and_more/model"
    with sqlite3.connect(registry) as connection:
        for version, place in enumerate([source, of_others], 1):
            connection.execute(
                "INSERT INTO model_versions (name, version, source, storage_location, current_stage) "
                "VALUES ('letters', ?, ?, ?, 'None')",
                (version, place, place),
            )
    connection.close()
    record_place(there.folder / "mlflow.db", "letters", registry)
    assert models.get_model_version("letters", "1").source == source.replace("/runs/", "/elsewhere/")
    assert models.get_model_version_download_uri("letters", "1") == source.replace("/runs/", "/elsewhere/")
    assert models.get_model_version("letters", "2").source == of_others


def test_a_copy_writes_nothing_into_its_original(store: Store, tmp_path: Path) -> None:
    copy = Store(tmp_path / "copy", store.run_id)
    shutil.copytree(store.folder, copy.folder)
    before = store.files()
    follow(copy.folder / "mlflow.db", [])
    copy.client.log_text(copy.run_id, "new", "new.txt")
    assert store.files() == before
    assert len(copy.files()) == len(before) + 1
    follow(store.folder / "mlflow.db", [])
    assert moved.moved("letters") is None


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_the_storage_that_a_flag_names_by_default_may_be_that_of_before(store: Store, tmp_path: Path, how: str) -> None:
    """`--tracking-uri sqlite:///copy/mlflow.db` alone: the storage is `runs`, which is not there, or the original's."""
    copy = Store(tmp_path / "copy", store.run_id)
    if how == "moved":
        shutil.move(store.folder, copy.folder)
    else:
        shutil.copytree(store.folder, copy.folder)
    follow(copy.folder / "mlflow.db", [store.folder])
    copy.client.log_text(copy.run_id, "new", "new.txt")
    assert copy.read() == "name: letters"
    assert any(file.endswith("new.txt") for file in copy.files())
    assert not any(file.endswith("new.txt") for file in store.files())


def test_a_copy_of_a_project_with_its_database_above_the_storage(store: Store, tmp_path: Path) -> None:
    """`cp -r project copy`, where `project/mlflow.db` has its artifacts in `project/storage/mlartifacts`."""
    project, copy = tmp_path / "project", tmp_path / "copy"
    (project / "storage").mkdir(parents=True)
    shutil.move(store.folder / "mlflow.db", project)
    shutil.move(store.folder / "mlartifacts", project / "storage")
    follow(project / "mlflow.db", [project / "storage"])
    record_place(project / "mlflow.db", "letters")
    shutil.copytree(project, copy)
    follow(copy / "mlflow.db", [copy / "storage"])
    found = moved.moved("letters")
    assert found is not None
    assert found.now == copy / "storage" / "mlartifacts" / "letters"
    shutil.copytree(project / "storage", project / "backup")  # of the files alone: the database goes with the original
    follow(project / "mlflow.db", [project / "backup"])
    assert moved.moved("letters") is None


def test_a_database_alone_reads_the_artifacts_where_they_are(store: Store, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    shutil.copy(store.folder / "mlflow.db", tmp_path / "backup")
    follow(tmp_path / "backup" / "mlflow.db", [tmp_path / "backup"])
    assert Store(tmp_path / "backup", store.run_id).read() == "name: letters"


def test_artifacts_that_moved_away_from_their_database(store: Store, tmp_path: Path) -> None:
    """The database is not in the storage: the flag that names the storage says where the artifacts are."""
    (tmp_path / "storage").mkdir()
    shutil.move(store.folder / "mlartifacts", tmp_path / "storage")
    follow(store.folder / "mlflow.db", [tmp_path / "storage"])
    assert moved.moved("letters") is None  # where the store has them: they may have been deleted, as far as is known
    there = move(store, tmp_path / "databases")
    follow(there.folder / "mlflow.db", [tmp_path / "storage"])
    assert there.read() == "name: letters"


def test_artifacts_that_were_left_behind_are_missed_with_both_places(store: Store, tmp_path: Path) -> None:
    shutil.rmtree(store.folder / "mlartifacts")
    there = move(store, tmp_path / "elsewhere")
    recorded, place = store.folder / "mlartifacts" / "letters", there.folder / "mlartifacts" / "letters"
    what = f"the artifacts of letters are not in {recorded}, which the MLflow store has, nor in {place}: if the store"
    for access in (there.read, lambda: there.client.log_text(there.run_id, "new", "new.txt")):
        with pytest.raises(UserError) as error:
            access()
        assert str(error.value).startswith(what)
    with pytest.raises(UserError, match="the artifacts of letters"):
        record_place(there.folder / "mlflow.db", "letters")
    assert not store.folder.exists()


def test_a_link_to_the_store_is_no_other_place(store: Store, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store.folder)
    follow(tmp_path / "link" / "mlflow.db", [tmp_path / "link"])
    assert moved.moved("letters") is None
