"""benchmarks/folder_search.py on a small index: all sides run, and find the same."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from folder_search import OURS, main, measure, share_found
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
    for row in rows:
        assert (row.what, row.unit) == ("search of an index: 5 queries, 300 x 128, top 10", "s")
        assert row.ours > 0
        assert row.theirs is not None
        assert row.theirs > 0


def test_of_other_images_the_share_counts_wherever_they_stand() -> None:
    ours, theirs = np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([[4, 3, 2, 9], [8, 7, 6, 5]])
    assert share_found(ours, theirs) == 7 / 8


def test_sides_that_find_other_images_are_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {OURS: [1.0], "other": [2.0]}
    for share, code in ((0.9, 1), (0.9995, 0)):
        monkeypatch.setattr("folder_search.measure", lambda *_, share=share: (times, {"other": share}))
        assert main([]) == code
