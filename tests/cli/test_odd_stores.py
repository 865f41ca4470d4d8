"""A store that cannot be used, in every command that opens one: one message, exit code 2, and nothing changed."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mdr_tune.cli.launch import main as launch
from mdr_tune.tracking.mlflow_database import schema_versions
from tests.cli.run_command import run_command
from tests.mlflow_globals import mlflow_globals_kept

MAIN = Path(__file__).parents[2] / "search_spaces" / "mdr_levels.yaml"
COMMANDS = {
    "leaderboard": ["letters"],
    "importance": ["letters"],
    "report": ["letters"],
    "rerun": ["0" * 32],
    "embed": ["--model", "models:/letters@champion", "--images", "images", "--out", "e.parquet"],
    "import-official": ["best.pth", "--out", "imported", "--register", "letters"],
    "launch": ["--space", MAIN],
    "launch --dry-run": ["--space", MAIN, "--dry-run"],
}


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with mlflow_globals_kept():
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "1.png").touch()
        yield


def run(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, str]:
    """Run a command over `mlflow.db` in the working folder; returns its exit code and what it says of mistakes."""
    arguments = [str(part) for part in [*COMMANDS[command], "--tracking-uri", "sqlite:///mlflow.db"]]
    if not command.startswith("launch"):
        code, _, err = run_command(capsys, command, *arguments)
        return code, err
    code = launch([*arguments, "--storage", "storage"])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return code, captured.err


def with_version(file: Path, version: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE experiments (experiment_id INTEGER)")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (version,))
    connection.close()


def make_older(file: Path) -> None:
    known, latest = schema_versions()
    with_version(file, min(known - {latest}))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda file: file.write_text("no database, however long it may be" * 50), "(file is not a database); restore"),
        (Path.mkdir, "(it is a folder, not a file); name the file, such as"),
        (lambda file: file.symlink_to(file.name), "(it is no file on a disk); choose another --tracking-uri"),
        (make_older, "its tables are those of an older MLflow than"),
        (lambda file: with_version(file, "of the future"), "its tables were made by a newer MLflow than"),
    ],
    ids=["damaged", "folder", "loop", "older", "newer"],
)
def test_what_cannot_be_opened(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, make: Callable[[Path], None], what: str
) -> None:
    make(tmp_path / "mlflow.db")
    before = sorted(tmp_path.rglob("*"))
    code, message = run(capsys, command)
    assert code == 2
    assert what in message
    assert message.startswith(f"error: the MLflow store {tmp_path}/mlflow.db: ")
    assert len(message.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "command", [name for name in COMMANDS if name not in ("import-official", *list(COMMANDS)[-2:])]
)
def test_what_is_not_there_is_not_made(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    code, message = run(capsys, command)
    assert code == 2
    assert f"there is no MLflow store {tmp_path}/mlflow.db" in message
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "launch"])
def test_an_empty_file_is_not_filled(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    (tmp_path / "mlflow.db").touch()
    code, message = run(capsys, command)
    assert code == (0 if command == "launch --dry-run" else 2)
    if command not in ("import-official", "launch --dry-run"):  # which may write
        assert f"there is no MLflow store {tmp_path}/mlflow.db" in message
    assert (tmp_path / "mlflow.db").read_bytes() == b""
