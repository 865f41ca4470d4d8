"""Ray's token is its owner's alone, whoever made it."""

import os
import stat
from pathlib import Path

import pytest

from mdr_tune.cluster.auth_token import _make, guard_token

pytestmark = pytest.mark.usefixtures("environment_put_back")
VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@pytest.fixture
def token(environment_put_back: None, tmp_path: Path) -> Path:
    for variable in VARIABLES:
        os.environ.pop(variable, None)
    os.environ["HOME"] = str(tmp_path)
    return tmp_path / ".ray" / "auth_token"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_token(token: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        guard_token()
    finally:
        os.umask(before)
    assert (mode(token), mode(token.parent)) == (0o600, 0o700)
    assert len(bytes.fromhex(token.read_text())) == 32
    assert list(token.parent.iterdir()) == [token]
    made = token.read_text()
    guard_token()
    _make(token)  # as a launch beside this one, which did not see it
    assert token.read_text() == made


def test_a_token_that_others_can_read_is_closed(token: Path) -> None:
    token.parent.mkdir()
    token.parent.chmod(0o775)
    token.write_text("a" * 64)
    token.chmod(0o644)
    guard_token()
    assert (mode(token), mode(token.parent)) == (0o600, 0o755)
    assert token.read_text() == "a" * 64


def test_a_token_elsewhere(token: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "token"
    elsewhere.write_text("b" * 64)
    elsewhere.chmod(0o664)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(elsewhere)
    guard_token()
    assert mode(elsewhere) == 0o600
    assert not token.exists()


@pytest.mark.parametrize("variables", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "c" * 64}])
def test_no_file_where_none_is_used(token: Path, variables: dict[str, str]) -> None:
    os.environ.update(variables)
    guard_token()
    assert not token.parent.exists()


def test_a_home_that_cannot_be_written(token: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.environ["HOME"] = str(tmp_path / "file" / "home")
    guard_token()
    assert len(bytes.fromhex(os.environ["RAY_AUTH_TOKEN"])) == 32
