"""What the MLflow service checks, writes and says, without a server."""

import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.cluster.mlflow_server import keepers
from mdr_tune.cluster.mlflow_server.environment import (
    as_the_server,
    environment_file,
    read_environment_file,
    server_environment,
    write_auth_files,
)
from mdr_tune.cluster.mlflow_server.service import LOG_LIMIT_BYTES, limit_log, server_command
from mdr_tune.cluster.mlflow_server.settings import (
    log_file,
    make_settings,
    read_settings,
    server_folder,
    write_settings,
)
from mdr_tune.cluster.mlflow_server.store_checks import check_artifacts, check_database, check_port
from mdr_tune.tracking.mlflow_database import schema_versions
from mdr_tune.util.errors import UserError
from tests.cluster.mlflow_server.home import free_port


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_defaults_are_sqlite_and_a_folder_at_home_for_this_machine_alone(home: Path) -> None:
    settings = make_settings()
    assert settings.backend_store_uri == f"sqlite:///{home}/mdr_tune_mlflow/mlflow.db"
    assert settings.artifacts_destination == f"{home}/mdr_tune_mlflow/artifacts"
    assert settings.address == "http://127.0.0.1:5000"
    assert settings.listens_on_loopback_only
    assert settings.allowed_hosts == ["localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*"]
    assert settings.allowed_origins == []


def test_settings_are_kept_and_those_of_an_older_version_are_read(home: Path) -> None:
    settings = make_settings("postgresql://me@db/runs", "s3://bucket/x/", "0.0.0.0", 5001, ("https://mlflow.a.org/",))
    assert settings.backend_store_uri == "postgresql+psycopg2://me@db/runs"
    assert read_settings() is None
    write_settings(settings)
    assert read_settings() == settings
    file = server_folder() / "settings.json"
    file.write_text('{"backend_store_uri": "sqlite:////a", "artifacts_destination": "/b", "host": "127.0.0.1",'
                    ' "port": 5000, "public_urls": ["https://c"], "basic_auth": false}')  # fmt: skip
    older = read_settings()
    assert older is not None
    assert older.public_urls == ("https://c",)
    file.write_text("{")
    with pytest.raises(UserError, match=r"settings\.json: cannot be read .*mlflow-server install"):
        read_settings()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"backend_store_uri": "mysql://a@b/c"}, "must be sqlite"),
        ({"backend_store_uri": "sqlite://"}, "must be sqlite"),
        ({"backend_store_uri": "postgresql://me@db"}, "names no database"),
        ({"artifacts_destination": "gs://bucket"}, "folder or s3://"),
        ({"artifacts_destination": "s3:///x"}, "folder or s3://"),
        ({"artifacts_destination": "r\udce9"}, r"--artifacts-destination r\\xe9 is not UTF-8: rename it"),
        ({"host": "example.org"}, "address of this machine"),
        ({"port": 0}, "between 1 and 65535"),
        ({"public_urls": ("mlflow.example.org",)}, "https://mlflow.example.org"),
        ({"public_urls": ("https://mlflow.example.org/path",)}, "must have the form"),
    ],
)
def test_a_form_that_cannot_be_right_is_refused(home: Path, arguments: dict[str, str], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        make_settings(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("uri", ["postgresql://me:geheim@db:5433/runs", "postgresql://me@db:5433/runs?password=geheim"])
def test_a_password_in_the_uri_is_refused_and_not_repeated(home: Path, uri: str) -> None:
    with pytest.raises(UserError) as caught:
        make_settings(uri)
    assert "db:5433:runs:me:PASSWORD into ~/.pgpass" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_who_is_answered(home: Path) -> None:
    lan = make_settings(host="10.0.0.5", port=5001)
    assert "10.0.0.5:5001" in lan.allowed_hosts
    assert lan.allowed_origins == ["http://10.0.0.5:5001"]
    every = make_settings(host="0.0.0.0", public_urls=("https://mlflow.example.org",))
    assert {"mlflow.example.org", f"{socket.gethostname()}:5000"} <= set(every.allowed_hosts)
    assert every.allowed_origins == ["https://mlflow.example.org"]
    assert every.address == "http://127.0.0.1:5000"
    for settings in (lan, every):
        assert "*" not in settings.allowed_hosts + settings.allowed_origins
        assert not settings.listens_on_loopback_only


def test_the_command_serves_artifacts_and_holds_no_secret(home: Path) -> None:
    settings = make_settings("postgresql://me@db/runs", "s3://bucket/x", basic_auth=True)
    command = server_command(settings)
    assert "--serve-artifacts" in command
    assert command[command.index("--app-name") + 1] == "basic-auth"
    write_auth_files()
    key = (server_folder() / "secret_key").read_text()
    assert not any(key in word for word in command)
    assert server_environment(settings)["MLFLOW_FLASK_SERVER_SECRET_KEY"] == key
    for name in ("secret_key", "basic_auth.ini"):
        assert (server_folder() / name).stat().st_mode & 0o777 == 0o600


def test_the_environment_is_the_same_whoever_starts_the_server(home: Path) -> None:
    login = {"HOME": str(home), "LANG": "C.UTF-8"}
    shell = {**login, "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true", "AWS_PROFILE": "of one shell"}
    found = server_environment(make_settings(), shell)
    assert found == server_environment(make_settings(), login)
    assert found["MLFLOW_DISABLE_TELEMETRY"] == "true"
    environment_file().parent.mkdir()
    environment_file().write_text("# other S3\nMLFLOW_S3_ENDPOINT_URL=http://a\nAWS_SECRET_ACCESS_KEY='a$b'\n")
    environment_file().chmod(0o600)
    more = server_environment(make_settings(), shell)
    assert more == {**found, "MLFLOW_S3_ENDPOINT_URL": "http://a", "AWS_SECRET_ACCESS_KEY": "a$b"}
    before = dict(os.environ)
    with as_the_server(make_settings()):
        assert os.environ["AWS_SECRET_ACCESS_KEY"] == "a$b"
    assert dict(os.environ) == before
    environment_file().chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        read_environment_file()


def test_a_database_of_this_mlflow_is_fine_an_older_or_newer_one_is_not(home: Path) -> None:
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine

    uri, file = make_settings().backend_store_uri, server_folder() / "mlflow.db"
    check_database(uri)  # makes the folder
    assert not file.exists()
    _initialize_tables(create_engine(uri))
    check_database(uri)
    known, latest = schema_versions()

    def set_version(number: str) -> None:
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (number,))

    set_version(min(known - {latest}))
    with pytest.raises(UserError, match=r"older MLflow.*-m mlflow db upgrade sqlite:///"):
        check_database(uri)
    set_version("of the future")
    with pytest.raises(UserError, match="newer MLflow"):
        check_database(uri)


def test_a_file_that_is_no_database_and_tables_of_others_are_refused(home: Path) -> None:
    text = home / "text.db"
    text.write_text("not a database, but a text that is long enough to be read as its header" * 20)
    with pytest.raises(UserError, match="file is not a database"):
        check_database(f"sqlite:///{text}")
    assert text.read_text().startswith("not a database")
    other = home / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(UserError, match="not MLflow's"):
        check_database(f"sqlite:///{other}")


def test_a_postgresql_that_is_not_there_is_said(home: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be used .*Connection refused.*docs/mlflow_server.md"):
        check_database(f"postgresql+psycopg2://me@127.0.0.1:{free_port()}/runs")


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_said(home: Path, small_disk: Path) -> None:
    with pytest.raises(UserError, match="not enough disk space for the MLflow server"):
        check_artifacts(str(small_disk))
    with pytest.raises(UserError, match="not enough disk space for the MLflow server"):
        check_database(f"sqlite:///{small_disk}/mlflow.db")
    (home / "file").write_text("")
    with pytest.raises(UserError, match=r"--artifacts-destination .*cannot be written"):
        check_artifacts(str(home / "file" / "x"))


@pytest.fixture
def s3(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an S3 with a bucket `runs`; the credentials are in the environment."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    for name, value in (
        ("MLFLOW_S3_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", "an-id"),
        ("AWS_SECRET_ACCESS_KEY", "a-key"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    import boto3

    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="runs")
    yield url
    server.stop()


def test_a_bucket_is_written_before_and_left_clean(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    check_artifacts("s3://runs/mlflow")
    assert "Contents" not in boto3.client("s3", endpoint_url=s3).list_objects_v2(Bucket="runs")
    with pytest.raises(UserError, match=r"s3://other/mlflow: S3 cannot be written .*bucket does not exist"):
        check_artifacts("s3://other/mlflow")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it has the credentials by now
    with pytest.raises(UserError, match=r"credentials.*machine's role, from ~/.aws"):
        check_artifacts("s3://runs/mlflow")


def test_a_taken_port_is_said_with_its_process() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port {port}: is taken by process {os.getpid()} \("):
            check_port(port)
    check_port(port)


def test_a_large_log_is_put_aside_while_it_is_open(home: Path) -> None:
    server_folder().mkdir()
    with log_file().open("ab") as log:
        log.write(b"x" * (LOG_LIMIT_BYTES + 1))
        log.flush()
        limit_log()
        log.write(b"later\n")
    assert log_file().read_bytes() == b"later\n"
    assert (server_folder() / "server.log.1").stat().st_size == LOG_LIMIT_BYTES + 1


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_accepts_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / 'a "home" of 100 % $HOME'))
    server_folder().mkdir(parents=True)
    unit = tmp_path / keepers.UNIT
    verify = ["systemd-analyze", "--man=no", "verify", str(unit)]

    def said(text: str) -> list[str]:
        unit.write_text(text)
        lines = subprocess.run(verify, capture_output=True, text=True, check=False).stderr.splitlines()
        return [line for line in lines if "RestartSteps" not in line and "RestartMaxDelaySec" not in line]  # before 254

    assert said(keepers.unit_text()) == []
    assert "restart specifier" in said(keepers.unit_text().replace("Restart=always", "Restart=perhaps"))[0]


def test_another_users_unit_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "SYSTEM_UNITS", home)
    (home / keepers.UNIT).write_text("[Service]\nUser=somebody-else\n")
    for action in (keepers.Systemd().start, keepers.Systemd().stop):
        with pytest.raises(UserError, match="is the MLflow server of somebody-else"):
            action()
    assert (home / keepers.UNIT).exists()


def test_without_systemd_and_supervisor_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="-m pip install supervisor"):
        keepers.Supervisord().start()


def test_systemd_keeps_it_for_who_has_the_unit_or_may_make_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "SYSTEM_UNITS", home)
    monkeypatch.setattr(keepers, "RUNTIME", home)
    monkeypatch.setattr(keepers.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(keepers, "_may_sudo", lambda: False)
    assert isinstance(keepers.make_keeper(), keepers.Supervisord)
    (home / keepers.UNIT).write_text(keepers.unit_text())
    assert isinstance(keepers.make_keeper(), keepers.Systemd)  # also while sudo would ask for a password
    (home / keepers.UNIT).write_text("[Service]\nUser=somebody-else\n")
    assert isinstance(keepers.make_keeper(), keepers.Supervisord)
    monkeypatch.setattr(keepers, "_may_sudo", lambda: True)
    assert isinstance(keepers.make_keeper(), keepers.Systemd)
