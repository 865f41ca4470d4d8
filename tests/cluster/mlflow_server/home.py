"""A home for an MLflow server that a test installs: nothing of the user's own is touched, nothing is left running."""

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mdr_tune.cluster.mlflow_server import service


@contextmanager
def server_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make `folder` the home, on a machine as if without systemd and cron; uninstall at the end."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr("mdr_tune.cluster.mlflow_server.systemd.RUNTIME", folder / "no_systemd")
    monkeypatch.setattr("mdr_tune.cluster.mlflow_server.detached.CRONTAB", "no-crontab-in-tests")
    try:
        yield folder
    finally:
        monkeypatch.setenv("HOME", str(folder))
        service.uninstall(lambda _: None)
        assert processes_of(folder) == []


def processes_of(home: Path) -> list[str]:
    """Return the command lines of all processes whose home is `home`, this one left out."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            if f"HOME={home}".encode() in variables and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def status_code(url: str, headers: dict[str, str] | None = None, data: bytes | None = None) -> int:
    """Return the HTTP status of a request."""
    request = urllib.request.Request(url, headers={"Content-Type": "application/json", **(headers or {})}, data=data)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
