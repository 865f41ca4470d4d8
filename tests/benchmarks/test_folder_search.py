"""benchmarks/folder_search.py on a small index: all sides run, and find the same."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from folder_search import main, measure
from summary.rows import read_rows


def test_all_sides_find_the_same() -> None:
    times, agreement = measure(images=500, queries=20, rounds=2)
    assert [len(rounds) for rounds in times.values()] == [2, 2, 2]
    assert list(agreement.values()) == [1.0, 1.0]


def test_the_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--images", "300", "--queries", "5", "--rows", str(tmp_path / "rows.json")]) == 0
    printed = capsys.readouterr().out
    assert "5 queries, 300 x 128, top 10" in printed
    assert "ours, from the file" in printed
    assert "100.0000%" in printed
    rows = read_rows(tmp_path / "rows.json")
    assert [row.against for row in rows] == ["NumPy, one matrix", "scikit-learn, brute"]
    assert rows[0].ours == rows[1].ours
