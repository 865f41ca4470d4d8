"""What keeps Ray from starting, known before it is started."""

import os
import socket
from pathlib import Path

import pytest

from mdr_tune.cluster.ray_start import SOCKET, check_ray_can_start, start_failure
from mdr_tune.util.errors import UserError


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(variable, raising=False)


def test_the_usual_place_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    check_ray_can_start()
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # which Ray asks first
    check_ray_can_start()


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("{here}/none", "there is no such folder"),
        ("{here}/file", "it is a file"),
        ("tmp", "it is not absolute"),
        ("{here}/taken", "{here}/taken/ray is not a folder that this user can write to"),
    ],
)
@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_that_will_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, folder: str, why: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "ray").touch()
    given = folder.format(here=tmp_path)
    monkeypatch.setenv(variable, given)
    with pytest.raises(UserError) as raised:
        check_ray_can_start()
    message = str(raised.value)
    assert message.startswith(f"Ray cannot start here: {variable}={given}: {why.format(here=tmp_path)}")
    assert "set RAY_TMPDIR to a folder that is there, can be written and has a path of at most " in message


def test_the_longest_path_is_one_that_sockets_can_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = SOCKET.format(pid=os.getpid())
    monkeypatch.setenv("TMPDIR", "/" + "x" * 90)
    with pytest.raises(UserError) as raised:
        check_ray_can_start()
    room = int(str(raised.value).rpartition("of at most ")[2].split()[0])
    monkeypatch.chdir(tmp_path)
    for length, fits in ((room, True), (room + 1, False)):
        folder = Path("/tmp") / ("y" * (length - len("/tmp/")))
        (folder / name).parent.mkdir(parents=True)
        monkeypatch.setenv("TMPDIR", str(folder))
        try:
            with socket.socket(socket.AF_UNIX) as bound:
                if fits:
                    check_ray_can_start()
                    bound.bind(str(folder / name))
                else:
                    with pytest.raises(UserError, match=f"it has {length} bytes, and a socket of Ray's"):
                        check_ray_can_start()
                    with pytest.raises(OSError, match="too long"):
                        bound.bind(str(folder / name))
        finally:
            (folder / name).unlink(missing_ok=True)
            for parent in (folder / name).parents:
                if parent == Path("/tmp"):
                    break
                parent.rmdir()


def test_without_shared_memory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none: Ray keeps objects in it, but it is not there"):
        check_ray_can_start(tmp_path / "none")


def test_what_is_said_of_a_start_that_failed() -> None:
    told = start_failure(Exception("The current node timed out.\n  Look at it."))
    assert told.startswith("Ray did not start: The current node timed out. Look at it. Its logs are in /tmp/ray/")
    assert start_failure(OSError()).startswith("Ray did not start: OSError.")


def test_a_token_that_is_no_file_and_too_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path))
    with pytest.raises(UserError, match=rf"{tmp_path}: Ray keeps its token in it, but it is no file"):
        check_ray_can_start()
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setattr("resource.getrlimit", lambda _: (40, 4096))
    with pytest.raises(UserError, match="fewer than 128 files open: raise it, with ulimit -n"):
        check_ray_can_start()
