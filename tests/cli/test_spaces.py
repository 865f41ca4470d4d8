"""`mdr-tune spaces` and sweep files by name, as with an installed package."""

import tomllib
from pathlib import Path

import pytest

from mdr_tune.cli import launch
from mdr_tune.cli.spaces import first_sentence, shipped_spaces
from tests.cli.run_command import run_command

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_files_are_in_the_package() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    taken = {file for patterns in setup.values() for pattern in patterns for file in ROOT.glob(pattern)}
    assert taken == {file for file in (ROOT / "search_spaces").rglob("*") if file.suffix in (".yaml", ".py")}
    assert all(first_sentence(file).endswith((".", "?")) for file in shipped_spaces().values())


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    code, output, _ = run_command(capsys, "spaces")
    names = [line.split()[0] for line in output.splitlines() if not line.startswith(" ")]
    assert (code, names) == (0, list(shipped_spaces()))


def test_copy_with_its_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(capsys, "spaces", "--copy", "own_model")[:2] == (0, "wrote own_model.yaml\nwrote own_model.py\n")
    assert (folder / "own_model.py").read_text() == (ROOT / "search_spaces" / "own_model.py").read_text()
    code, _, errors = run_command(capsys, "spaces", "--copy", "own_model")
    assert (code, "own_model.yaml is there already" in errors) == (2, True)
    code, _, errors = run_command(capsys, "spaces", "--copy", "own_mode")
    assert (code, "Did you mean 'own_model'?" in errors) == (2, True)


def test_a_launch_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, errors = run_command(
        capsys, "launch", "--space", "paper/methods_cub200", "--dry-run", "--storage", "s"
    )
    assert (code, "methods_cub200.yaml\n" in output) == (0, True), errors
    (folder / "mdr_levels").write_text((ROOT / "search_spaces" / "own_model.yaml").read_text())
    (folder / "own_model.py").write_text((ROOT / "search_spaces" / "own_model.py").read_text())
    assert launch.main(["--space", "mdr_levels", "--dry-run", "--storage", "s"]) == 0  # a file of one's own comes first
    assert capsys.readouterr().out.startswith("own_model: mdr_levels\n")
    code, _, errors = run_command(capsys, "launch", "--space", "mdr_level", "--dry-run")
    assert (code, "there is no mdr_level. Did you mean 'mdr_levels'?" in errors) == (2, True)
