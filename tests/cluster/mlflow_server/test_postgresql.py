"""The service on a real PostgreSQL and an S3; clients have neither password nor credentials."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.cluster.mlflow_server import service
from mdr_tune.cluster.mlflow_server.settings import log_file, make_settings, server_folder
from mdr_tune.util.errors import UserError
from tests.cluster.mlflow_server.home import (
    free_port,
    log_a_run,
    processes_of,
    read_the_run,
    server_home,
    write_private,
)
from tests.cluster.mlflow_server.postgresql import PASSWORD, Postgresql, postgresql, program

pytestmark = [pytest.mark.slow, pytest.mark.skipif(program("initdb") is None, reason="PostgreSQL is not here")]

SECRET_KEY = "a-key-of-s3"


@pytest.fixture(scope="module")
def database() -> Iterator[Postgresql]:
    with postgresql() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with server_home(tmp_path / "home", monkeypatch) as folder:
        yield folder


def test_what_is_wrong_with_a_password_is_said(home: Path, database: Postgresql) -> None:
    settings = make_settings(database.uri)
    with pytest.raises(UserError, match=r"no password supplied\); .*~/.pgpass \(chmod 600\)"):
        service.check_settings(settings)
    write_private(home / ".pgpass", database.pgpass.replace("p4ss", "no"))
    with pytest.raises(UserError, match=r"password authentication failed .*~/.pgpass \(chmod 600\)"):
        service.check_settings(settings)
    write_private(home / ".pgpass", database.pgpass.replace(":runs:", ":*:"))
    service.check_settings(settings)
    with pytest.raises(UserError, match='database "other" does not exist'):
        service.check_settings(make_settings(database.uri.replace("/runs", "/other")))


def test_a_run_is_kept_in_both_and_no_secret_is_shown(home: Path, database: Postgresql) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    url = f"http://127.0.0.1:{moto.get_host_and_port()[1]}"
    keys = {"aws_access_key_id": "an-id", "aws_secret_access_key": SECRET_KEY, "region_name": "us-east-1"}
    s3 = boto3.client("s3", endpoint_url=url, **keys)
    s3.create_bucket(Bucket="runs")
    write_private(home / ".pgpass", database.pgpass)
    variables = {"MLFLOW_S3_ENDPOINT_URL": url, **{name.upper(): value for name, value in keys.items()}}
    variables["AWS_DEFAULT_REGION"] = variables.pop("REGION_NAME")
    text = "".join(f"{name}={value}\n" for name, value in variables.items())
    write_private(server_folder() / "environment", text)

    settings = make_settings(database.uri, "s3://runs/mlflow", port=free_port())
    service.install(settings, lambda _: None)
    run_id = log_a_run(settings.address)
    assert read_the_run(settings.address, run_id) == (61.5, "hello")
    stored = [entry["Key"] for entry in s3.list_objects_v2(Bucket="runs")["Contents"]]
    assert any(key.startswith("mlflow/") and key.endswith("note.txt") for key in stored)

    commands = processes_of(home)
    assert len(commands) > 3
    texts = [log_file().read_text(), (server_folder() / "settings.json").read_text(), *commands]
    for secret in (PASSWORD, "p4ss", SECRET_KEY):
        assert not any(secret in text for text in texts)
    service.uninstall(lambda _: None)
    moto.stop()
