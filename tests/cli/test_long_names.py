"""A name that is too long for any file is a mistake of the user's, in whichever flag it stands."""

from pathlib import Path

import pytest

from mdr_tune.cli.launch import main as launch
from tests.cli.run_command import run_command

LONG = "x" * 300
MAIN = str(Path(__file__).parents[2] / "search_spaces" / "mdr_levels.yaml")
MODEL = ["--images", "images", "--model"]


@pytest.fixture(autouse=True)
def _in_a_folder_with_an_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").touch()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--resume", LONG],
        ["--resume", "letters", "--storage", LONG],
        ["--space", LONG],
        ["--space", MAIN, "--storage", LONG],
        ["--space", MAIN, "--tracking-uri", f"sqlite:///{LONG}"],
        ["--space", MAIN, "--set", f"trial.data={{name: folder, root: {LONG}}}"],
        ["--space", MAIN, "--set", f"trial.backbone.weights={LONG}"],
    ],
    ids=lambda arguments: " ".join(arguments[::2]),
)
def test_of_a_launch(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code = launch([*arguments, "--dry-run"])
    check(code, capsys.readouterr().err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["leaderboard", "letters", "--storage", LONG],
        ["report", "letters", "--tracking-uri", f"sqlite:///{LONG}"],
        ["embed", "--images", LONG, "--out", "e.parquet", "--model", "m"],
        ["embed", *MODEL, LONG, "--out", "e.parquet"],
        ["embed", *MODEL, "m", "--out", f"{LONG}.parquet"],
        ["search", "--index", "e.parquet", "--query", LONG],
        ["search", "--index", LONG, "--query", "images"],
        ["data", "prepare", "folder", "--root", LONG],
        ["import-official", LONG, "--out", "o"],
        ["cluster", "check", LONG],
    ],
    ids=lambda arguments: " ".join(arguments).replace(LONG, "LONG"),
)
def test_of_a_command(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, _, error = run_command(capsys, *arguments)
    check(code, error)


def check(code: int, error: str) -> None:
    assert code == 2
    assert all(line.startswith("error: ") for line in error.splitlines())
    assert LONG in error
