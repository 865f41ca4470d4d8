"""docs/own_model.md: its Python files are written, its sweep files and commands are run as a user would.

Launches are dry runs. `mdr-tune check` leaves out its last check, one rank against two, which tests/cli/test_check.py
runs.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from markdown_it import MarkdownIt

from mdr_tune.cli import launch
from mdr_tune.cli.main import main, make_parser
from mdr_tune.training import component_check
from mdr_tune.training.component_check import Line
from mdr_tune.util.import_path import look_for_code_in

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "own_model.md"
SMALL = {"batch": {"size": 32, "images_per_class": 4}, "epochs": 3, "iterations_per_epoch": 1}
USUAL = {"name": "page", "search": {"trials": 2}, "resources": {"workers_per_trial": 1, "lanes": 1}}


def blocks() -> list[tuple[str, str]]:
    """Return the language and the text of each block of code on the page."""
    tokens = MarkdownIt().parse(PAGE.read_text())
    assert [token.map for token in tokens if token.type == "code_block"] == [], "fence it, and say its language"
    return [(token.info, token.content) for token in tokens if token.type == "fence"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment_put_back: None) -> Iterator[Path]:
    """The folder of a user, with the sweep files that come with the program, and a file of vectors."""
    shutil.copytree(ROOT / "search_spaces", tmp_path / "search_spaces")
    rows = {"embedding": list(np.random.default_rng(0).normal(size=(640, 8))), "label": np.repeat(range(80), 8)}
    pq.write_table(pa.table(rows), tmp_path / "vectors.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(component_check, "_check_ranks", lambda *_: Line("1 rank against 2", "ok", "left out"))
    yield tmp_path
    look_for_code_in([])


def dry_run(*arguments: str) -> None:
    assert launch.main([*arguments, "--dry-run"]) == 0, arguments


def run_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = shlex.split(command)
    if program == "cd":
        monkeypatch.chdir(arguments[0])
    elif program == "mdr-tune" and re.search(r"\b[A-Z]{3,}\b", command):  # a place for the user's own name
        make_parser().parse_args(arguments)
    elif program == "mdr-tune":
        assert main(arguments) == 0, command
    elif arguments[0] == "-c":
        compile(arguments[1], command, "exec")
        exec(arguments[1], {})
    else:
        assert (program, arguments[0]) == ("python", "launch.py")
        dry_run(*arguments[1:])


def test_its_examples_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = blocks()
    for _, code in (block for block in found if block[0] == "python"):
        name = code.splitlines()[0].removeprefix("# ")
        (folder / name).write_text(code)
    last = ""
    for language, text in found:
        monkeypatch.chdir(folder)
        if language == "yaml":
            given = yaml.safe_load(text)
            trial = {**SMALL, **given.get("trial", {})}
            space = given.get("space", {"mdr.weight": {"loguniform": [0.01, 1]}})
            (folder / "page.yaml").write_text(yaml.safe_dump({**USUAL, **given, "trial": trial, "space": space}))
            dry_run("--space", "page.yaml")
            last = "".join(capsys.readouterr().out.split())
        elif language == "sh":
            for command in text.splitlines():
                run_command(command, monkeypatch)
        elif language == "text":
            assert "".join(text.split()) in last
        else:
            assert language == "python"
