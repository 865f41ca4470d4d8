"""Databases that the installed MLflow cannot work with are found before it opens them; nothing in them changes."""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.version import VERSION

from mdr_tune.tracking.mlflow_database import VERSION_PARAM, check_file, schema_versions
from mdr_tune.util.errors import UserError
from mdr_tune.util.sqlite_address import sqlite_url

NEWER = f"-m pip install 'mlflow>{VERSION}'"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that this MLflow made, with a run."""
    file = tmp_path_factory.mktemp("made") / "mlflow.db"
    client = MlflowClient(sqlite_url(file))
    client.log_param(client.create_run("0").info.run_id, VERSION_PARAM, VERSION)
    return file


@pytest.fixture
def file(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / "it's mine.db"))


def problem(file: Path, writes: bool = True) -> str:
    """Return what is wrong with a file, which stays as it is."""
    before = file.read_bytes() if file.is_file() else b""
    with pytest.raises(UserError) as error:
        check_file(file, sqlite_url(file), "the MLflow store", writes)
    assert not file.is_file() or file.read_bytes() == before
    assert [path for path in file.parent.iterdir() if path != file] == []
    return str(error.value)


def change(file: Path, statement: str, *values: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(statement, values)
    connection.close()


def test_one_that_this_mlflow_made_is_fine(file: Path) -> None:
    before = file.read_bytes()
    for writes in (True, False):
        check_file(file, sqlite_url(file), "the MLflow store", writes)
    assert file.read_bytes() == before


def test_text_in_it_that_is_no_text_is_damage(file: Path) -> None:
    data = file.read_bytes()
    assert b"PRIMARY KEY" in data
    file.write_bytes(data.replace(b"PRIMARY KEY", b"\x94\xf3\xff\x80ARY KEY"))
    assert "restore a back-up of it" in problem(file)


def test_an_empty_file_is_for_mlflow_to_fill(tmp_path: Path) -> None:
    (tmp_path / "new.db").touch()
    check_file(tmp_path / "new.db", sqlite_url(tmp_path / "new.db"), "the MLflow store", writes=True)
    assert (tmp_path / "new.db").read_bytes() == b""


def test_one_that_lost_a_table_is_damaged(file: Path) -> None:
    change(file, "DROP TABLE tags")
    assert problem(file) == "the MLflow store: is damaged: it lacks MLflow's table tags; restore a back-up of it"


def test_the_command_for_an_older_one_brings_it_up_to_date(file: Path) -> None:
    """The last migration is undone; the message has the command, which is run."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(sqlite_url(file))
    config = _get_alembic_config(sqlite_url(file))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.downgrade(config, "-1")
        except Exception:  # a migration that cannot be undone
            pytest.skip("the last migration of this MLflow has no way back")
    engine.dispose()
    text = problem(file)
    assert f"its tables are those of an older MLflow than {VERSION}. Stop what uses it, make a back-up" in text
    subprocess.run(text.partition("up to date: ")[2], shell=True, check=True, capture_output=True)
    check_file(file, sqlite_url(file), "the MLflow store", writes=True)


@pytest.mark.parametrize(
    ("recorded", "install"),
    [("999.1.0", "-m pip install mlflow==999.1.0"), (VERSION, NEWER), ("new", NEWER)],
)
def test_of_a_newer_one_the_version_is_told_where_a_launch_recorded_it(file: Path, recorded: str, install: str) -> None:
    change(file, "UPDATE alembic_version SET version_num = 'of the future'")
    change(file, "UPDATE params SET value = ?", recorded)
    text = problem(file)
    assert f"made by a newer MLflow than {VERSION}, which is installed here; install that one: " in text
    assert text.endswith(install)


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda file: file.write_text("a text, long enough to be read as a header" * 9), "file is not a database"),
        (lambda file: file.write_bytes(file.read_bytes()[:100_000]), "database disk image is malformed"),
        (
            lambda file: file.write_bytes(file.read_bytes()[:40_960] + bytes(40_960) + file.read_bytes()[81_920:]),
            "restore a back-up",
        ),
    ],
    ids=["text", "cut off", "zeros in the middle"],
)
def test_one_that_is_damaged(file: Path, spoil: Callable[[Path], None], what: str, writes: bool) -> None:
    spoil(file)
    text = problem(file, writes)
    assert text.startswith(f"the MLflow store: cannot be {'written' if writes else 'read'} (")
    assert what in text
    assert text.endswith("; restore a back-up of it, or choose another --tracking-uri")


def test_tables_of_others_or_only_some_of_mlflows(file: Path) -> None:
    change(file, "DELETE FROM alembic_version")
    assert "holds tables that are not MLflow's, or not all of them" in problem(file)
    file.unlink()
    change(file, "CREATE TABLE recipes (name TEXT)")
    assert "holds tables that are not MLflow's, or not all of them" in problem(file)


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    assert "it is a folder, not a file); name the file, such as" in problem(tmp_path / "mlflow.db")


def test_one_that_another_process_keeps_locked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdr_tune.tracking.mlflow_database._BUSY_S", 0.05)
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError, match=r"cannot be written \(database is locked\); choose another --tracking-uri"):
        check_file(file, sqlite_url(file), "the MLflow store", writes=True)
    check_file(file, sqlite_url(file), "the MLflow store", writes=False)
    holder.close()


def test_versions_of_the_tables_are_known() -> None:
    known, latest = schema_versions()
    assert latest in known
