"""What the MLflow service checks, writes and says, without a server."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.cluster.mlflow_server import detached, systemd
from mdr_tune.cluster.mlflow_server.artifact_folder import check_artifacts
from mdr_tune.cluster.mlflow_server.command import LOG_LIMIT_BYTES, _limit_log, run_server, server_command
from mdr_tune.cluster.mlflow_server.databases import check_database
from mdr_tune.cluster.mlflow_server.environment import (
    as_the_server,
    environment_file,
    read_environment_file,
    server_environment,
    write_auth_files,
)
from mdr_tune.cluster.mlflow_server.ports import check_port, listening_pid
from mdr_tune.cluster.mlflow_server.server_process import ProcessId, end_group
from mdr_tune.cluster.mlflow_server.settings import (
    log_file,
    make_settings,
    read_settings,
    server_folder,
    write_settings,
)
from mdr_tune.tracking.mlflow_database import schema_versions
from mdr_tune.util.errors import UserError


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
    assert settings.allowed_origins == []


def test_settings_are_kept(home: Path) -> None:
    settings = make_settings("postgresql://me@db/runs", "s3://bucket/x/", "0.0.0.0", 5001, ("https://mlflow.a.org/",))
    assert read_settings() is None
    write_settings(settings)
    assert read_settings() == settings
    (server_folder() / "settings.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_settings()


def test_the_driver_of_postgresql_is_named(home: Path) -> None:
    import sqlalchemy

    for uri in ("postgresql://me@db/runs", "postgres://me@db/runs", "postgresql+psycopg2://me@db/runs"):
        settings = make_settings(uri)
        assert settings.backend_store_uri == "postgresql+psycopg2://me@db/runs"
    assert sqlalchemy.create_engine(settings.backend_store_uri).dialect.driver == "psycopg2"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"backend_store_uri": "mysql://a@b/c"}, "must be sqlite"),
        ({"backend_store_uri": "mlflow.db"}, "must be sqlite"),
        ({"backend_store_uri": "sqlite://"}, "must be sqlite"),
        ({"backend_store_uri": "postgresql://me@db"}, "names no database"),
        ({"artifacts_destination": "gs://bucket"}, "folder or s3://"),
        ({"artifacts_destination": "s3:///x"}, "folder or s3://"),
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
    assert make_settings().allowed_hosts == ["localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*"]
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
    shell = {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
        "AWS_PROFILE": "of one shell",
    }
    found = server_environment(make_settings(), shell)
    assert found == server_environment(make_settings(), {"HOME": str(home), "LANG": "C.UTF-8"})
    assert found["MLFLOW_DISABLE_TELEMETRY"] == "true"
    environment_file().parent.mkdir()
    environment_file().write_text(
        "# other S3\nMLFLOW_S3_ENDPOINT_URL=http://127.0.0.1:9000\nAWS_SECRET_ACCESS_KEY='a$b'\n"
    )
    environment_file().chmod(0o600)
    more = server_environment(make_settings(), shell)
    assert more == {**found, "MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9000", "AWS_SECRET_ACCESS_KEY": "a$b"}
    before = dict(os.environ)
    with as_the_server(make_settings()):
        assert os.environ["AWS_SECRET_ACCESS_KEY"] == "a$b"
    assert dict(os.environ) == before


def test_an_environment_file_that_others_may_read_is_refused(home: Path) -> None:
    environment_file().parent.mkdir()
    environment_file().write_text("AWS_SECRET_ACCESS_KEY=x\n")
    environment_file().chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        read_environment_file()


def test_a_database_of_this_mlflow_is_fine_an_older_or_newer_one_is_not(home: Path) -> None:
    from mlflow.store.db.utils import _initialize_tables, _verify_schema
    from sqlalchemy import create_engine

    settings = make_settings()
    file = settings.sqlite_file
    assert file is not None
    check_database(settings)  # makes the folder
    assert not file.exists()
    _initialize_tables(create_engine(settings.backend_store_uri))
    check_database(settings)
    known, latest = schema_versions()

    def set_version(number: str) -> None:
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (number,))

    set_version(min(known - {latest}))
    with pytest.raises(UserError, match=r"older MLflow.*-m mlflow db upgrade sqlite:///"):
        check_database(settings)
    with pytest.raises(Exception, match="out-of-date"):  # as MLflow itself sees it
        _verify_schema(create_engine(settings.backend_store_uri))
    set_version("of the future")
    with pytest.raises(UserError, match="newer MLflow"):
        check_database(settings)


def test_a_file_that_is_no_database_and_tables_of_others_are_refused(home: Path) -> None:
    text = home / "text.db"
    text.write_text("not a database, but a text that is long enough to be read as its header" * 20)
    with pytest.raises(UserError, match="file is not a database"):
        check_database(make_settings(f"sqlite:///{text}"))
    assert text.read_text().startswith("not a database")
    other = home / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(UserError, match="not MLflow's"):
        check_database(make_settings(f"sqlite:///{other}"))


def test_a_postgresql_that_is_not_there_is_said(home: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be reached .*start PostgreSQL"):
        check_database(make_settings(f"postgresql://me@127.0.0.1:{free_port()}/runs"))


def test_a_postgresql_with_tls_whose_authority_is_not_known_here_is_said(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def agree_to_tls() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(8)
                connection.sendall(b"S")
                connection.recv(8)

        threading.Thread(target=agree_to_tls, daemon=True).start()
        uri = f"postgresql://me@127.0.0.1:{server.getsockname()[1]}/runs?sslmode=verify-full"
        with pytest.raises(
            UserError, match=r"root certificate .* does not exist.*; copy the certificate of the authority"
        ):
            check_database(make_settings(uri))


def test_a_full_disk_is_said(home: Path, small_disk: Path) -> None:
    with pytest.raises(UserError, match="not enough disk space for the MLflow server"):
        check_artifacts(make_settings(artifacts_destination=str(small_disk)))
    with pytest.raises(UserError, match="not enough disk space for the MLflow server"):
        check_database(make_settings(f"sqlite:///{small_disk}/mlflow.db"))


def test_a_folder_that_cannot_be_written_is_said(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(UserError, match=r"--artifacts-destination .*cannot be written"):
        check_artifacts(make_settings(artifacts_destination=str(home / "file" / "x")))
    with pytest.raises(UserError, match=r"--artifacts-destination r\\xe9 is not UTF-8: rename it"):
        make_settings(artifacts_destination="r\udce9")


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


def test_a_bucket_is_written_before_and_left_clean(s3: str) -> None:
    import boto3

    check_artifacts(make_settings(artifacts_destination="s3://runs/mlflow"))
    assert "Contents" not in boto3.client("s3", endpoint_url=s3).list_objects_v2(Bucket="runs")
    with pytest.raises(UserError, match="no bucket other; create it"):
        check_artifacts(make_settings(artifacts_destination="s3://other/mlflow"))


def test_missing_credentials_and_an_s3_that_is_not_there_are_said(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings(artifacts_destination="s3://runs/mlflow")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UserError, match="S3 cannot be used"):
        check_artifacts(settings)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match=r"credentials.*machine's role, from ~/.aws"):
        check_artifacts(settings)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_taken_port_is_said_with_its_process() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert listening_pid(port) == os.getpid()
        with pytest.raises(UserError, match=rf"--port {port}: is taken by process {os.getpid()} \("):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
    assert listening_pid(port) is None
    with pytest.raises(UserError, match="cannot be listened on"):
        check_port("192.0.2.1", port)


def test_a_process_is_known_for_good() -> None:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    known = ProcessId.of(process.pid)
    assert known is not None
    assert known.is_alive
    assert not ProcessId(known.pid, known.start_ticks + 1).is_alive
    end_group(process.pid)
    assert not known.is_alive  # it was not reaped yet
    assert process.wait() == -15


def test_a_group_that_ignores_sigterm_is_forced() -> None:
    program = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True)"
    child = f"{program}; time.sleep(60)"
    leader = f"{program}; subprocess.Popen([sys.executable, '-c', {child!r}]).wait()"
    process = subprocess.Popen([sys.executable, "-c", leader], start_new_session=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(2):
        process.stdout.readline()
    end_group(process.pid, patience_s=0.3)
    assert process.wait() == -9
    assert process.stdout.read() == b""  # the child is gone too: nobody holds the pipe's other end


def test_run_without_an_installed_server_says_so(home: Path) -> None:
    with pytest.raises(UserError, match="mlflow-server install"):
        run_server()


def test_a_large_log_is_put_aside_while_it_is_open(home: Path) -> None:
    server_folder().mkdir()
    with log_file().open("ab") as log:
        log.write(b"x" * (LOG_LIMIT_BYTES + 1))
        log.flush()
        _limit_log()
        log.write(b"later\n")
    assert log_file().read_bytes() == b"later\n"
    assert (server_folder() / "server.log.1").stat().st_size == LOG_LIMIT_BYTES + 1


def test_the_units_restart_for_ever_and_hold_no_secret(home: Path) -> None:
    system, user = systemd.unit_text(True, 254), systemd.unit_text(False, 252)
    for text in (system, user):
        assert {"Restart=always", "StartLimitIntervalSec=0", "NoNewPrivileges=yes"} <= set(text.splitlines())
        assert "mlflow-server" in text
        assert "backend" not in text
    assert "WantedBy=multi-user.target" in system
    assert "RestartMaxDelaySec=60" in system
    assert "WantedBy=default.target" in user
    assert "RestartMaxDelaySec" not in user


@pytest.mark.parametrize("is_system_unit", [True, False])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_accepts_the_units(is_system_unit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / 'a "home" of 100 % $HOME'
    monkeypatch.setenv("HOME", str(odd))
    server_folder().mkdir(parents=True)
    unit = tmp_path / systemd.UNIT
    version = systemd._systemd_version()
    assert version > 0
    unit.write_text(systemd.unit_text(is_system_unit, version))
    verify = ["systemd-analyze", *([] if is_system_unit else ["--user"]), "--man=no", "verify", str(unit)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(verify, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(unit.read_text().replace("Restart=always", "Restart=perhaps"))
    done = subprocess.run(verify, capture_output=True, text=True, check=False, env=environment)
    assert "restart specifier" in done.stderr  # it does look


def test_another_users_unit_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "SYSTEM_UNITS", home)
    (home / systemd.UNIT).write_text("[Service]\nUser=somebody-else\n")
    service = systemd.SystemdService()
    if os.geteuid() != 0:
        pytest.skip("only root looks at the machine's units without sudo")
    for action in (service.start, service.stop):
        with pytest.raises(UserError, match="is the MLflow server of somebody-else"):
            action()
    assert (home / systemd.UNIT).exists()


CRONTAB_PROGRAM = """#!/bin/sh
# crontab -l and crontab -, for a table in a file.
case "$1" in
  -l) [ -e "$HOME/table" ] || exit 1; cat "$HOME/table" ;;
  -) cat > "$HOME/table" ;;
esac
"""


def test_a_line_in_the_crontab_comes_and_goes_and_the_others_stay(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = home / "crontab"
    program.write_text(CRONTAB_PROGRAM)
    program.chmod(0o755)
    monkeypatch.setattr(detached, "CRONTAB", str(program))
    detached._forget_reboot()
    assert not (home / "table").exists()
    (home / "table").write_text("5 * * * * mine\n")
    for _ in range(2):
        assert "comes back after a reboot" in detached._come_back_after_reboot()
    mine, ours = (home / "table").read_text().splitlines()
    assert mine == "5 * * * * mine"
    assert ours.startswith(f"@reboot {sys.executable} -m mdr_tune.cluster.mlflow_server.supervisor")
    detached._forget_reboot()
    assert (home / "table").read_text() == "5 * * * * mine\n"
