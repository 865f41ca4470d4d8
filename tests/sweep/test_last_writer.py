"""Two copies of a store go on: each in its own database, neither in the other's."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mdr_tune.records.journal import Past
from mdr_tune.sweep.in_store import check_in_store
from mdr_tune.sweep.last_writer import FILE, claim, new_session
from mdr_tune.sweep.stores import Stores
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.moved import follow
from mdr_tune.tracking.tags import METRIC_TAG, SESSION_TAG, run_tags
from mdr_tune.util.errors import UserError
from mdr_tune.util.sqlite_address import sqlite_url

LAUNCH = Path("sweeps", "letters", "2026-01-01")


class Copy:
    """A storage with its database."""

    def __init__(self, storage: Path, run_id: str) -> None:
        self.storage, self.run_id = storage, run_id
        self.stores = Stores(storage, sqlite_url(storage / "mlflow.db"))
        self.client = MlflowClient(self.stores.tracking_uri)

    def goes_on(self) -> None:
        claim(self.client, self.run_id, new_session(self.storage / LAUNCH), self.storage)

    def copied(self, to: Path) -> "Copy":
        shutil.copytree(self.storage, to)
        return Copy(to, self.run_id)

    def check(self, database: "Copy | None" = None) -> None:
        """Check it as `--resume --storage STORAGE --tracking-uri DATABASE` does."""
        uri = (database or self).stores.tracking_uri
        past = Past(parent_run_id=self.run_id, folder=self.storage / LAUNCH)
        check_in_store(Stores(self.storage, uri), "letters", past, self.stores)

    def problem(self, database: "Copy | None" = None) -> str:
        with pytest.raises(UserError) as error:
            self.check(database)
        return str(error.value)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A launch of an older version, which has no sessions."""
    storage = tmp_path_factory.mktemp("template") / "k"
    (storage / LAUNCH).mkdir(parents=True)
    client = MlflowClient(sqlite_url(storage / "mlflow.db"))
    experiment = open_experiment(client, "letters", storage / "mlartifacts")
    run = client.create_run(experiment, tags={**run_tags("sweep"), METRIC_TAG: "val/recall_at_1"})
    client.log_text(run.info.run_id, "name: letters", "sweep.yaml")
    return Copy(storage, run.info.run_id)


@pytest.fixture
def original(template: Copy, tmp_path: Path) -> Iterator[Copy]:
    yield template.copied(tmp_path / "k")
    follow(None, [])


def test_each_copy_goes_on_in_its_own_database_and_in_no_other(original: Copy, tmp_path: Path) -> None:
    original.goes_on()
    copy = original.copied(tmp_path / "e")
    copy.check(original)  # nothing has happened since
    copy.goes_on()
    text = original.problem(copy)
    launch = original.storage / LAUNCH
    assert text.startswith(f"--resume letters: {launch} was overtaken: another copy of it, in {copy.storage}, has gone")
    assert f"the MLflow store {copy.stores.tracking_uri}, and" in text
    assert f"belongs to it (--tracking-uri {original.stores.tracking_uri}), or go on with the other copy" in text
    assert f"(--storage {copy.storage})" in text
    original.goes_on()
    assert f"in {original.storage}, has gone on since" in copy.problem(original)
    assert f"in {copy.storage}, has gone on since" in original.problem(copy)
    for one in (original, copy):
        one.check()
        one.goes_on()
        one.check()


def test_a_database_that_is_gone_is_not_named_and_a_tag_that_was_deleted_keeps_nobody_out(
    original: Copy, tmp_path: Path
) -> None:
    original.goes_on()
    copy = original.copied(tmp_path / "e")
    copy.goes_on()
    (original.storage / "mlflow.db").unlink()
    assert original.problem(copy).endswith(
        f"mixed: go on with the other copy (--storage {copy.storage}), or if that copy is lost, delete the tag "
        f"mdr_tune.session of run {copy.run_id} in MLflow"
    )
    copy.client.delete_tag(copy.run_id, SESSION_TAG)
    original.check(copy)


def test_a_storage_that_a_back_up_took_back(original: Copy, tmp_path: Path) -> None:
    original.goes_on()
    back_up = original.copied(tmp_path / "back-up")
    original.goes_on()
    shutil.copy(back_up.storage / LAUNCH / FILE, original.storage / LAUNCH)
    text = original.problem()
    assert "--storage" not in text
    assert "--tracking-uri" not in text
    assert "delete the tag" in text


def test_a_kill_between_the_two_writes_keeps_nobody_out(original: Copy, tmp_path: Path) -> None:
    for _ in range(2):
        new_session(original.storage / LAUNCH)
        original.check()
    original.goes_on()
    new_session(original.storage / LAUNCH)
    original.check()
    new_session(original.storage / LAUNCH)
    original.check()


def test_a_database_from_a_back_up_is_the_storage_s_own(original: Copy, tmp_path: Path) -> None:
    original.goes_on()
    back_up = original.copied(tmp_path / "back-up")
    original.goes_on()
    original.goes_on()
    shutil.copy(back_up.storage / "mlflow.db", original.storage)
    original.check()


def test_a_journal_whose_end_was_deleted_knows_fewer_trials_than_its_database(original: Copy) -> None:
    original.goes_on()
    experiment = original.client.get_experiment_by_name("letters").experiment_id
    original.client.create_run(experiment, tags={**run_tags("mdr-009"), MLFLOW_PARENT_RUN_ID: original.run_id})
    original.check()


def test_a_store_that_was_moved(original: Copy, tmp_path: Path) -> None:
    original.goes_on()
    original.storage.rename(tmp_path / "elsewhere")
    Copy(tmp_path / "elsewhere", original.run_id).check()


def test_a_store_of_an_older_version(original: Copy, tmp_path: Path) -> None:
    original.check()
    copy = original.copied(tmp_path / "e")
    copy.goes_on()
    assert "was overtaken" in original.problem(copy)
    original.check()


def test_a_damaged_list_of_sessions_is_no_traceback(template: Copy, tmp_path: Path) -> None:
    copy = template.copied(tmp_path / "copy")
    copy.goes_on()
    copy.check()
    (copy.storage / LAUNCH / FILE).write_bytes(b"\x94\xf3\xff\n")
    assert "was overtaken" in copy.problem()
