"""benchmarks/sweep_scale.py: its arithmetic on made-up stamps, and both sides with a few trials."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import HANG_S

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from scale.meter import Stamps
from scale.search import BEST, RANGES, make_plan, recall
from scale.windows import bounds, different_values, median_window, window, windows

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sweep_scale.py"
TRIALS, EPOCHS, BOTH, ROUNDS = 6, 3, 4, 2


def stamps(*report_s: float) -> Stamps:
    """A side whose reports take so many seconds each; the driver works a tenth of that."""
    at = [5 + sum(report_s[: i + 1]) for i in range(len(report_s))]
    count = len(report_s)
    return Stamps(at, [s / 10 for s in at], [100.0 + i for i in range(count)], list(range(count)), at[-1], at[-1] + 1)


def test_windows_follow_each_other_and_end_with_the_last_hundred():
    assert bounds(20_000)[:3] == [(1, 100), (101, 1000), (1001, 2000)]
    assert bounds(20_000)[-2:] == [(19_001, 19_900), (19_901, 20_000)]
    for reports in (2, 3, 60, 199, 200, 1000, 1050, 1100, 2100, 5000):
        found = bounds(reports)
        assert [first for first, _ in found] == [1, *(last + 1 for _, last in found[:-1])]
        assert found[-1][1] == reports
        assert all(first <= last for first, last in found)


def test_a_window_takes_the_mean_from_the_report_before_it():
    side = stamps(50.0, 1.0, 1.0, 4.0, 2.0)  # Tune's start is in the first one
    assert window(side, 1, 3).wall_ms == pytest.approx(1000.0)
    last = window(side, 4, 5)
    assert (last.wall_ms, last.cpu_ms) == (pytest.approx(3000.0), pytest.approx(300.0))
    assert (last.rss_mib, last.queued) == (104.0, 4)
    assert [found.last for found in windows(side)] == [2, 3, 5]


def test_rounds_count_by_their_median():
    rounds = [stamps(50.0, 1.0, seconds) for seconds in (1.0, 9.0, 3.0)]
    found = median_window(rounds, 3, 3)
    assert (found.wall_ms, found.cpu_ms) == (pytest.approx(3000.0), pytest.approx(300.0))


def test_values_are_compared_exactly_as_far_as_both_went():
    assert different_values([1.0, 2.0, 3.0], [1.0, 2.0]) == []
    assert different_values([1.0, 2.0, 3.0], [1.0, 2.0 + 1e-15, 3.0]) == [2]


def test_stamps_are_read_as_they_were_saved(tmp_path):
    side = stamps(1.0, 2.0)
    side.save(tmp_path / "stamps.json")
    assert Stamps.load_from(tmp_path / "stamps.json") == side


def test_the_best_parameters_are_inside_of_the_space(tmp_path):
    plan = make_plan(6, 3, tmp_path)
    assert plan.arms[0].trials == 6
    assert (plan.max_epochs, plan.lanes.num_lanes) == (3, 1)
    assert list(plan.sweep.space) == list(RANGES)
    assert all(low < BEST[key] < high for key, (low, high, _) in RANGES.items())
    worse = {**BEST, "mdr.weight": 0.2}
    assert recall(worse, 3) < recall(BEST, 3) < recall(BEST, 4) < 80


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for temporary files whose name is so short that the paths of Ray's sockets in it are allowed."""
    with tempfile.TemporaryDirectory(prefix="s") as folder:
        yield Path(folder)


@pytest.mark.ray
@pytest.mark.slow  # `make bench` runs it
def test_both_sides_run_the_same_trials(tmp_path, short_folder):
    file = tmp_path / "scale.json"
    command = [sys.executable, str(SCRIPT), "--json", str(file)]
    command += ["--trials", str(TRIALS), "--epochs", str(EPOCHS), "--both-trials", str(BOTH), "--rounds", str(ROUNDS)]
    environment = {**os.environ, "TMPDIR": str(short_folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"The same trials in all {2 * ROUNDS + 1} runs: {BOTH} values" in done.stdout
    found = json.loads(file.read_text())
    reports = {name: [len(side["at_s"]) for side in rounds] for name, rounds in found.items()}
    assert reports == {"ours": [BOTH * EPOCHS] * 2, "theirs": [BOTH * EPOCHS] * 2, "whole": [TRIALS * EPOCHS]}
    assert all(side[key] == sorted(side[key]) for side in found["ours"] for key in ("at_s", "cpu_s"))
    assert not list(short_folder.iterdir())
