"""The table of `make bench`."""

import sys
from datetime import date
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from run_all import SCRIPTS
from summary.process import run_module
from summary.rows import Row, read_rows, write_rows
from summary.tables import BEGIN, END, as_markdown, cells, write_section

TIME = Row("a step", "autograd", "ms", 2.0, 9.0, limit=1.0, aim=4.0)
SPEED = Row("input", "Pillow", "images/s", 3000.0, 250.0, more_is_better=True, aim=10)


def test_better_is_less_of_a_time_and_more_of_a_speed() -> None:
    assert (TIME.ratio, TIME.of_limit, TIME.is_met) == (4.5, 2.0, True)
    assert (SPEED.ratio, SPEED.of_limit, SPEED.is_met) == (12.0, None, True)
    assert Row("a speed", "", "images/s", 50.0, limit=100.0, more_is_better=True).of_limit == 2.0


@pytest.mark.parametrize(
    ("row", "is_met"),
    [
        (Row("", "", "s", 2.0, 9.0, aim=5.0), False),
        (Row("", "", "s", 2.0, None, aim=5.0), None),
        (Row("", "", "s", 2.0, 9.0), None),
        (Row("", "", "s", 19.0, 40.0, aim=20.0, aim_is="at most"), True),
        (Row("", "", "s", 21.0, 40.0, aim=20.0, aim_is="at most"), False),
    ],
)
def test_an_aim_is_met_or_not(row: Row, is_met: bool | None) -> None:
    assert row.is_met is is_met


def test_lines_are_handed_on_as_they_are(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.json", [TIME, SPEED])
    assert read_rows(tmp_path / "rows.json") == [TIME, SPEED]


def test_the_section_is_replaced_and_all_else_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Measured\n\n{BEGIN}\nold\n{END}\n\nmore\n")
    write_section(page, as_markdown([TIME], "a machine", date(2026, 1, 2)))
    lines = page.read_text().splitlines()
    assert lines[:3] == ["# Measured", "", BEGIN]
    assert lines[-3:] == [END, "", "more"]
    assert "2026-01-02, a machine." in lines
    assert "| a step | autograd | ms | 2.00 | 9.00 | 4.50 | 1.00 | 2.00 | 4x | yes |" in lines
    assert "old" not in lines
    page.write_text("nothing")
    with pytest.raises(ValueError, match="has no lines"):
        write_section(page, "")


def test_numbers_are_short() -> None:
    assert cells(SPEED)[3:6] == ["3,000", "250", "12.0"]
    assert cells(Row("", "", "s", 0.0123))[3] == "0.012"


def test_the_page_has_the_markers_and_every_script_is_there() -> None:
    page = Path(__file__).parents[2] / "docs" / "benchmarks.md"
    assert BEGIN in page.read_text()
    assert END in page.read_text()
    others = {"run_all", "gpu_check"}  # the latter asks for a GPU
    folder = Path(__file__).parents[2] / "benchmarks"
    assert {*SCRIPTS, *others} == {file.stem for file in folder.glob("*.py")}


SPEAKER = """
import os, sys, time
print(os.environ.get("RAY_ADDRESS"), os.environ.get("MLFLOW_RUN_ID"), os.environ["MINE"], flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(3)
"""


@pytest.mark.parametrize(
    ("sleep_s", "timeout_s", "how"), [("0", 60, "ended with 3"), ("60", 5, "was killed after 5 s")]
)
def test_a_process_that_fails_or_hangs_says_what_it_printed(
    sleep_s: str, timeout_s: int, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "speaker.py").write_text(SPEAKER)
    monkeypatch.setenv("RAY_ADDRESS", "ray://elsewhere:1")
    monkeypatch.setenv("MLFLOW_RUN_ID", "theirs")
    monkeypatch.setattr("summary.process.BENCHMARKS", tmp_path)
    with pytest.raises(RuntimeError, match=f"speaker {how}:\nNone None mine\n"):
        run_module("speaker", [sleep_s], {"MINE": "mine"}, timeout_s=timeout_s)
