"""Where a sweep writes: what the flags mean, and that a check finds what is wrong and leaves nothing behind."""

import http.server
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from mdr_tune.sweep.stores import Stores, check_readable, check_stores, choose_stores
from mdr_tune.tracking.mlflow_database import NEEDED_TABLES, schema_versions
from mdr_tune.util.errors import UserError


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def problem(storage: Path, tracking_uri: str = "http://unused") -> str:
    with pytest.raises(UserError) as error:
        check_stores(Stores(storage, tracking_uri))
    return str(error.value)


def test_by_default_all_is_in_runs_here(tmp_path: Path) -> None:
    stores = choose_stores(None, None)
    assert stores == Stores(tmp_path / "runs", f"sqlite:///{tmp_path}/runs/mlflow.db")
    assert stores.artifact_root == tmp_path / "runs" / "mlartifacts"


def test_the_storage_folder_takes_the_database_with_it(tmp_path: Path) -> None:
    assert choose_stores("other", None) == Stores(tmp_path / "other", f"sqlite:///{tmp_path}/other/mlflow.db")
    assert choose_stores("~/other", None).storage == tmp_path / "home" / "other"


def test_the_flag_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert choose_stores(None, None).tracking_uri == "http://127.0.0.1:5000"
    assert choose_stores(None, "https://flag").tracking_uri == "https://flag"


@pytest.mark.parametrize("uri", ["http://a:1", "https://a", "postgresql+psycopg2://u@a/b", "mysql://a/b", "mssql://a"])
def test_a_server_decides_about_artifacts_itself(uri: str) -> None:
    stores = choose_stores(None, uri)
    assert (stores.tracking_uri, stores.artifact_root) == (uri, None)


@pytest.mark.parametrize(
    ("uri", "file"),
    [("sqlite:///x.db", "x.db"), ("sqlite:///a/x.db", "a/x.db"), ("sqlite:///~/x.db", "home/x.db")],
)
def test_a_relative_database_is_made_absolute(tmp_path: Path, uri: str, file: str) -> None:
    assert choose_stores(None, uri).tracking_uri == f"sqlite:///{tmp_path / file}"
    assert choose_stores(None, f"sqlite:///{tmp_path / file}").tracking_uri == f"sqlite:///{tmp_path / file}"


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "mlruns", "sqlite://", "databricks"])
def test_what_mlflow_cannot_track_to_is_refused_with_its_source(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    with pytest.raises(UserError) as error:
        choose_stores(None, uri)
    assert str(error.value).startswith(f"--tracking-uri {uri}: MLflow cannot track to this. Give a server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=r"^MLFLOW_TRACKING_URI "):
        choose_stores(None, None)


def test_a_storage_whose_path_has_several_lines_is_refused() -> None:
    with pytest.raises(UserError, match=r"^--storage '.*a\\nb': has '\\n' in it"):
        choose_stores("a\nb", None)


def test_a_check_of_new_places_leaves_nothing_behind(tmp_path: Path) -> None:
    check_stores(choose_stores("new/runs", None))
    check_stores(choose_stores("new/runs", "sqlite:///elsewhere/too/x.db"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["plain", "50%25 off #1", "feature%2Fx", "which levels?"])  # a URI reads them else
def test_a_check_of_a_database_leaves_it_as_it_is(tmp_path: Path, folder: str) -> None:
    file = tmp_path / folder / "mlflow.db"
    file.parent.mkdir()
    with sqlite3.connect(file) as connection:
        for table in NEEDED_TABLES:
            connection.execute(f"CREATE TABLE {table} (id INTEGER)")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (schema_versions()[1],))
    connection.close()
    before = file.read_bytes()
    stores = choose_stores(str(file.parent), None)
    assert stores.database == file
    check_stores(stores)
    check_readable(stores)
    assert file.read_bytes() == before
    assert list(tmp_path.rglob("*")) == [file.parent, file]


def test_a_storage_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    assert problem(tmp_path / "runs") == (
        f"--storage {tmp_path}/runs: cannot be written ({tmp_path}/runs is a file); choose a writable folder"
    )
    assert f"({tmp_path}/runs is a file)" in problem(tmp_path / "runs" / "deeper")


def test_a_storage_folder_that_is_a_link_to_nowhere(tmp_path: Path) -> None:
    for target in ("runs", "gone"):
        (tmp_path / "runs").unlink(missing_ok=True)
        (tmp_path / "runs").symlink_to(target)
        assert problem(tmp_path / "runs" / "deeper").startswith(
            f"--storage {tmp_path}/runs/deeper: cannot be written ({tmp_path}/runs is a link that leads nowhere)"
        )


def test_what_is_no_file_on_a_disk_is_no_database(tmp_path: Path) -> None:
    assert "/dev/null: cannot be written (it is no file on a disk)" in problem(tmp_path, "sqlite:////dev/null")


def test_a_port_that_is_no_number(tmp_path: Path) -> None:
    message = problem(tmp_path, "postgresql+psycopg2://me:secret@127.0.0.1:abc/db")
    assert "postgresql+psycopg2://me:***@127.0.0.1:abc/db cannot be opened (invalid literal for int()" in message


def test_a_folder_that_cannot_be_written() -> None:
    assert problem(Path("/proc/nowhere")).startswith("--storage /proc/nowhere: cannot be written (")
    assert problem(Path("/tmp"), "sqlite:////proc/nowhere/x.db").startswith("the MLflow store in /proc/nowhere: cannot")


def test_a_folder_that_cannot_even_be_looked_into(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)  # what Path.exists does there; the tests may run as root
    assert "cannot be written (Permission denied); choose a writable folder" in problem(tmp_path)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_text("not a database at all, but long enough for a header" * 10)
    assert problem(tmp_path, f"sqlite:///{file}") == (
        f"the MLflow store {file}: cannot be written (file is not a database); restore a back-up of it, or "
        "choose another --tracking-uri"
    )


def test_a_folder_in_place_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    message = problem(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    assert "cannot be written (it is a folder, not a file); name the file, such as " in message


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A server that is healthy below /good only; its URL, and the paths that were asked for."""
    asked: list[str] = []

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path.startswith("/good") else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listening = http.server.HTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}", asked
    listening.shutdown()
    listening.server_close()
    thread.join()


def test_a_server_is_asked_for_its_health(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    url, asked = server
    check_stores(Stores(tmp_path, f"{url}/good/"))
    assert asked == ["/good/health"]
    message = problem(tmp_path, f"{url}/bad")
    assert message.startswith(
        f"the MLflow server {url}/bad does not answer (Service Unavailable); start it (mdr-tune mlflow-server"
    )


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    message = problem(tmp_path, "http://127.0.0.1:9")
    assert "the MLflow server http://127.0.0.1:9 does not answer ([Errno 111] Connection refused)" in message


@pytest.mark.parametrize(
    ("uri", "file", "options"),
    [
        ("sqlite:///m.db?timeout=30", "m.db", "?timeout=30"),
        ("sqlite:///with%20a%20blank/m.db", "with a blank/m.db", ""),
        ("sqlite+pysqlite:///m.db", "m.db", ""),
    ],
)
def test_an_address_is_read_as_sqlalchemy_reads_it(tmp_path: Path, uri: str, file: str, options: str) -> None:
    stores = choose_stores(None, uri)
    assert stores.database == tmp_path / file
    assert stores.tracking_uri == f"sqlite:///{tmp_path / file}{options}"
    assert make_url(stores.tracking_uri).database == str(tmp_path / file)


@pytest.mark.parametrize("folder", ["runs 50%20", "feature%2Fx", "which levels?", "a?b=c", "#1 at 50%"])
def test_a_storage_of_any_name_has_its_database_in_it(tmp_path: Path, folder: str) -> None:
    stores = choose_stores(folder, None)
    assert stores.database == tmp_path / folder / "mlflow.db"
    assert make_url(stores.tracking_uri).database == str(stores.database)
    assert choose_stores(folder, stores.tracking_uri) == stores


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("sqlite:///which levels?/m.db", "'/m.db' is none that SQLite's driver has; write %3F for a ? in a path"),
        ("sqlite:///m.db?timeout=3&tiemout=4", "'tiemout=4' is none"),
        ("sqlite:///file:m.db?mode=ro&uri=true", "must name a file by its path"),
        ("sqlite:///:memory:", "must name a file by its path"),
    ],
)
def test_an_address_that_names_no_file_is_refused_at_once(uri: str, why: str) -> None:
    with pytest.raises(UserError) as error:
        choose_stores(None, uri)
    assert str(error.value).startswith(f"--tracking-uri {uri}: ")
    assert why in str(error.value)


@pytest.mark.parametrize(
    ("storage", "uri"), [(os.fsdecode(b"r\xe9"), None), (None, os.fsdecode(b"sqlite:///r\xe9.db"))]
)
def test_a_path_that_is_not_utf_8_is_refused(storage: str | None, uri: str | None) -> None:
    with pytest.raises(UserError, match=r"r\\xe9(.db)? is not UTF-8: rename it"):
        choose_stores(storage, uri)


def test_a_home_of_nobody_is_a_name_like_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert choose_stores("~no such user/x", None).storage == tmp_path / "~no such user" / "x"
    assert choose_stores(None, "sqlite:///~no such user/m.db").database == tmp_path / "~no such user" / "m.db"


def test_a_store_to_be_read_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"there is no MLflow store {tmp_path}/runs/mlflow.db: run this where"):
        check_readable(choose_stores(None, None))
    (tmp_path / "mlflow.db").write_text("no database, though long enough for a header" * 9)
    with pytest.raises(UserError, match=r"mlflow.db: cannot be read \(file is not a database\); restore a back-up"):
        check_readable(choose_stores(None, "sqlite:///mlflow.db"))
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_registry_elsewhere_is_checked_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = choose_stores(None, None)
    assert (stores.registry_uri, stores.other_registry) == (stores.tracking_uri, None)
    (tmp_path / "text.db").write_text("no database, though long enough for a header" * 9)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/text.db")
    assert stores.other_registry == f"sqlite:///{tmp_path}/text.db"
    with pytest.raises(
        UserError,
        match=r"of MLFLOW_REGISTRY_URI .*: cannot be written .* another MLFLOW_REGISTRY_URI$",
    ):
        check_stores(stores)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://me:secret@127.0.0.1:9")
    with pytest.raises(
        UserError,
        match=r"http://me:\*\*\*@127.0.0.1:9 does not answer .* or unset MLFLOW_REGISTRY_URI$",
    ):
        check_stores(stores)
    for folder in ("models", "/models", "file:///models"):
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", folder)
        with pytest.raises(UserError, match=f"MLFLOW_REGISTRY_URI {folder}: MLflow cannot register models in a folder"):
            check_stores(stores)
    for elsewhere in ("databricks", "databricks-uc", "uc:http://127.0.0.1:9", "plugin://x"):
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", elsewhere)
        with pytest.raises(
            UserError, match=f"MLFLOW_REGISTRY_URI {elsewhere}: the registry cannot be asked .* unset the"
        ):
            check_stores(stores)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://me:secret@127.0.0.1:9")
    lines = stores.load_command("letters@champion").splitlines()
    assert lines[2] == 'mlflow.set_registry_uri("http://me:***@127.0.0.1:9")'
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", stores.tracking_uri)
    check_stores(stores)
    assert len(stores.load_command("letters@champion").splitlines()) == len(lines) - 1
