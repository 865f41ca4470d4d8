"""clusters/fetch_data.py copies a folder of S3 (moto's server) to the disk, once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.waiting import HANG_S

SCRIPT = Path(__file__).parents[2] / "clusters" / "fetch_data.py"
KEYS = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def source() -> Iterator[str]:
    """A bucket with two files below `datasets` and one beside it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        "us-east-1",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    client.create_bucket(Bucket="bucket")
    for key, body in (("datasets/birds/a.jpg", b"a"), ("datasets/birds/deep/b.jpg", b"bb"), ("other/c.jpg", b"c")):
        client.put_object(Bucket="bucket", Key=key, Body=body)
    yield f"s3://bucket/datasets?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    server.stop()


def fetch(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), source, str(folder)]
    return subprocess.run(command, env=os.environ | KEYS, capture_output=True, text=True, timeout=HANG_S, check=False)


def test_a_folder_of_s3_is_copied_once(source: str, tmp_path: Path) -> None:
    folder = tmp_path / "datasets"
    first = fetch(source, folder)
    assert first.returncode == 0, first.stderr
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.jpg")}
    assert files == {"birds/a.jpg": b"a", "birds/deep/b.jpg": b"bb"}

    (folder / "birds" / "a.jpg").write_bytes(b"changed")
    second = fetch(source, folder)
    assert (second.returncode, "is there already" in second.stdout) == (0, True)
    assert (folder / "birds" / "a.jpg").read_bytes() == b"changed"

    other = fetch(source.replace("datasets", "other"), folder)
    assert other.returncode == 1
    assert "give another folder" in other.stderr


def test_a_copy_that_fails_is_a_sentence_and_is_made_again(source: str, tmp_path: Path) -> None:
    folder = tmp_path / "datasets"
    failed = fetch(source.replace("bucket/datasets", "nobodys/datasets"), folder)
    assert failed.returncode == 1
    assert "could not be copied" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert fetch(source, folder).returncode == 0
    assert (folder / "birds" / "a.jpg").exists()
