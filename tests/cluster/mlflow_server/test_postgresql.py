"""A whole sweep against the service on a real PostgreSQL and an S3; clients have neither password nor credentials."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.cluster.mlflow_server import service
from mdr_tune.cluster.mlflow_server.settings import log_file, make_settings, server_folder
from mdr_tune.util.errors import UserError
from tests.cluster.mlflow_server.home import processes_of, server_home
from tests.cluster.mlflow_server.postgresql import PASSWORD, Postgresql, postgresql, program
from tests.waiting import HANG_S, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(program("initdb") is None, reason="PostgreSQL is not here"),
]

ROOT = Path(__file__).parents[3]
SECRET_KEY = "a-key-of-s3"
SWEEP = """
name: served
trial:
  batch: {size: 16, images_per_class: 4}
  embedding: {size: 8}
  epochs: 3
  iterations_per_epoch: 4
search: {trials: 3, scheduler: {name: asha, grace_epochs: 1, reduction_factor: 3}}
space:
  mdr.weight: {loguniform: [0.01, 1]}
baselines: [triplet]
resources: {workers_per_trial: 1, lanes: 1}
"""
LOAD = """
import json, sys, mlflow, numpy, torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pytorch.load_model("models:/served@champion")
images = torch.from_numpy(numpy.random.default_rng(0).integers(0, 256, (5, 1, 32, 32), dtype=numpy.uint8))
print(json.dumps(list(model(images).shape)))
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Postgresql]:
    with postgresql() as running:
        yield running


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of an S3 with the bucket `runs`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    client(url).create_bucket(Bucket="runs")
    yield url
    server.stop()


def client(url: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": "an-id", "aws_secret_access_key": SECRET_KEY, "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=url, **keys)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with server_home(tmp_path / "home", monkeypatch) as folder:
        yield folder


def write_private(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(0o600)


def test_what_is_wrong_with_a_password_is_said(home: Path, database: Postgresql) -> None:
    settings = make_settings(database.uri)
    with pytest.raises(UserError, match=r"password is missing or wrong .*~/.pgpass \(chmod 600\)"):
        service.check_settings(settings)
    write_private(home / ".pgpass", database.pgpass.replace("p4ss", "no"))
    with pytest.raises(UserError, match="password is missing or wrong"):
        service.check_settings(settings)
    write_private(home / ".pgpass", database.pgpass.replace(":runs:", ":*:"))
    service.check_settings(settings)
    with pytest.raises(UserError, match=r'database "other" does not exist; create it'):
        service.check_settings(make_settings(database.uri.replace("/runs", "/other")))


def test_a_sweep_goes_on_when_the_server_is_killed_and_its_model_is_loaded_without_credentials(
    home: Path, database: Postgresql, s3: str, tmp_path: Path
) -> None:
    write_private(home / ".pgpass", database.pgpass)
    variables = f"MLFLOW_S3_ENDPOINT_URL={s3}\nAWS_ACCESS_KEY_ID=an-id\nAWS_SECRET_ACCESS_KEY={SECRET_KEY}\n"
    write_private(server_folder() / "environment", f"{variables}AWS_DEFAULT_REGION=us-east-1\n")
    settings = make_settings(database.uri, "s3://runs/mlflow", port=free_port())
    installed = service.install(settings, lambda _: None)

    launched = Launch(tmp_path / "client", settings.address)
    launched.wait_for_epochs(2)
    assert installed.state is not None
    assert installed.state.process is not None
    os.kill(installed.state.process.pid, signal.SIGKILL)
    output = launched.to_the_end()
    status = service.status()
    assert status is not None
    assert status.answers
    assert status.state is not None
    assert status.state.restarts == 1

    assert "MLflow did not take all of it" not in output
    runs = runs_at(settings.address)
    assert set(runs) == {"mdr-001", "mdr-002", "mdr-003", "triplet-001"}
    for name, run in runs.items():
        assert run.info.status == "FINISHED", name
        assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert launched.load_model() == [5, 8]
    stored = [entry["Key"] for entry in client(s3).list_objects_v2(Bucket="runs")["Contents"]]
    assert any(key.startswith("mlflow/") and key.endswith("checkpoint.pt") for key in stored)
    check_no_secret_is_shown(home)


def check_no_secret_is_shown(home: Path) -> None:
    """Neither in a command line nor in the log or the settings."""
    commands = processes_of(home)
    texts = [log_file().read_text(), (server_folder() / "settings.json").read_text(), *commands]
    assert len(commands) > 3
    for secret in (PASSWORD, "p4ss", SECRET_KEY):
        assert not any(secret in text for text in texts)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def runs_at(address: str) -> dict[str, Any]:
    """Return the runs of the trials by their names."""
    from mlflow import MlflowClient

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("served")
    found = client.search_runs([experiment.experiment_id], max_results=100)
    return {run.info.run_name: run for run in found if "mlflow.parentRunId" in run.data.tags}


class Launch:
    """launch.py against a server, by somebody with a home of their own, without credentials."""

    def __init__(self, folder: Path, address: str) -> None:
        folder.mkdir()
        (folder / "sweep.yaml").write_text(SWEEP)
        private = ("AWS_", "PG", "MLFLOW_", "RAY_ADDRESS")
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(private)} | {"HOME": str(folder)}
        self._folder, self._address = folder, address
        command = ("launch.py", "--space", "sweep.yaml", "--storage", "runs", "--tracking-uri", address)
        self._output = (folder / "output").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / command[0]), *command[1:]],
            cwd=folder,
            env=self._environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def wait_for_epochs(self, number: int) -> None:
        def there() -> bool:
            assert self._process.poll() is None, (self._folder / "output").read_text()
            return self._epochs() >= number

        wait_for(there, f"epoch {number}")

    def _epochs(self) -> int:
        journals = list(self._folder.glob("runs/sweeps/*/*/journal.jsonl"))
        lines = journals[0].read_text().splitlines() if journals else []
        return sum(json.loads(line)["event"] == "epoch" for line in lines)

    def to_the_end(self) -> str:
        code = self._process.wait(timeout=HANG_S)
        self._output.close()
        output = (self._folder / "output").read_text()
        assert code == 0, output
        return output

    def load_model(self) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", LOAD, self._address],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])
