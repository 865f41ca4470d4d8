"""`mdr-tune cluster check` as a user calls it."""

from pathlib import Path

import pytest

from mdr_tune.cli.main import main

PROJECT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _with_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("not a real one")
    (tmp_path / ".ray" / "auth_token").chmod(0o600)
    monkeypatch.chdir(PROJECT)


def test_a_file_that_is_set_is_fine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(Path("cluster.yaml").read_text().replace("sg-00000000000000000", "sg-0123456789abcdef0"))
    assert main(["cluster", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: fine\n"


def test_a_file_as_shipped_is_refused_with_file_line_key_and_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "check", "cluster.yaml"]) == 2
    output = capsys.readouterr()
    text = output.out + output.err
    assert "error: cluster.yaml:" in text
    assert "SecurityGroupIds.0: sg-00000000000000000 is an example: set your group's, see docs/cluster.md" in text
    assert "Traceback" not in text
