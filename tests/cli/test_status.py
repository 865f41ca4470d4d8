"""What the terminal shows while a sweep runs: plain lines in a pipe, and a live line on a terminal."""

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from mdr_tune.cli.status import Status
from mdr_tune.config.arms import Arm
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records import Outcome, TrialRecord

METRIC = "val/recall_at_1"
TRACEBACK = "Traceback (most recent call last):\n  File x, line 1\nTrialDiverged: the loss is not finite\n\n"


class Clock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("mdr_tune.cli.status.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def record(name: str, recalls: list[float], outcome: Outcome = "running", **parameters: Any) -> TrialRecord:
    history = [{"epoch": float(epoch), METRIC: recall} for epoch, recall in enumerate(recalls, 1)]
    return TrialRecord(name, name, "mdr", parameters, {"epochs": 8}, history, outcome)


def plain(width: int, num_trials: int = 4) -> tuple[Status, io.StringIO]:
    output = io.StringIO()
    return Status(Console(file=output, width=width, highlight=False), METRIC, num_trials), output


def last_live_line(clock: Clock, records: list[TrialRecord], num_trials: int, elapsed_s: float, stage: str = "") -> str:
    """Return the live line on a terminal after `records` have started at second 10."""
    output = io.StringIO()
    status = Status(Console(file=output, force_terminal=True, width=300, highlight=False), METRIC, num_trials)
    with status:
        clock.now += 10
        for one in records:
            status.trial_started(one)
        if stage:
            status.stage(stage)
        clock.now += elapsed_s - 10
    return re.findall(r"\x1b\[36m(.*?)\x1b\[0m", output.getvalue())[-1]


@pytest.mark.parametrize("width", [80, 200])
def test_a_line_for_each_finished_trial_however_wide_the_output(clock: Clock, width: int) -> None:
    levels = {"mdr.levels.count": 3, "mdr.levels.spread": 2.4, "mdr.weight": 0.13, "loss.margin": 0.2}
    trials = [
        record("mdr-001", [50.0, 62.5, 60.0], "completed", **levels),
        record("mdr-002", [9.5], "stopped_early", **{"mdr.weight": 0.5}),
        record("mdr-003", [40.0, 41.0], "killed"),
    ]
    status, output = plain(width)
    with status:
        for trial in trials:
            status.trial_started(trial)
            status.epoch_finished(trial)
        clock.now += 75
        for trial in trials:
            status.trial_ended(trial)
    assert output.getvalue().splitlines() == [
        "[1:15] mdr-001          completed       3 epochs  val Recall@1  62.50 (epoch 2)  "
        "levels 3 over ±2.40, weight 0.13, margin 0.2",
        "[1:15] mdr-002          stopped early   1 epochs  val Recall@1   9.50 (epoch 1)  weight 0.5",
        "[1:15] mdr-003          killed          2 epochs  val Recall@1  41.00 (epoch 2)",
    ]


def test_a_failed_trial_is_followed_by_the_last_line_of_its_traceback(clock: Clock) -> None:
    trial = record("mdr-001", [], "failed", **{"mdr.weight": 0.5})
    trial.error = TRACEBACK
    status, output = plain(80)
    status.trial_started(trial)
    status.trial_ended(trial)
    assert output.getvalue().splitlines() == [
        "[0:00] mdr-001          FAILED          0 epochs  no result  weight 0.5",
        "[0:00]                  TrialDiverged: the loss is not finite",
    ]


def test_stages_and_arms_are_told(clock: Clock) -> None:
    status, output = plain(80)
    status.stage("starting Ray")
    clock.now += 3600 + 61
    status.arm_started(Arm("triplet", TrialConfig(), {}, (), 6))
    assert output.getvalue().splitlines() == ["[0:00] starting Ray", "[1:01:01] searching triplet: 6 trials"]


def test_in_a_pipe_progress_is_a_line_where_it_begins_and_ends_and_every_quarter_of_a_minute(clock: Clock) -> None:
    status, output = plain(80)
    with status:
        for done in range(0, 1201, 100):
            status.progress("sop: decoding images", done, 1200)
            clock.now += 4
    assert output.getvalue().splitlines() == [
        "[0:00] sop: decoding images: 0 of 1,200",
        "[0:16] sop: decoding images: 400 of 1,200",
        "[0:32] sop: decoding images: 800 of 1,200",
        "[0:48] sop: decoding images: 1,200 of 1,200",
    ]


def test_on_a_terminal_progress_is_in_the_live_line_until_it_ends(clock: Clock) -> None:
    output = io.StringIO()
    status = Status(Console(file=output, force_terminal=True, width=100, highlight=False), METRIC, 4)
    with status:
        clock.now += 20
        status.progress("sop: decoding images", 0, 1200)
        status.progress("sop: decoding images", 700, 1200)
    shown = re.sub(r"\x1b\[[\d;]*m", "", output.getvalue())
    assert "[0:20] 0/4 trials done · sop: decoding images: 700 of 1,200" in shown
    assert "[0:20] sop: decoding" not in shown  # no line of its own

    with status:
        status.progress("sop: decoding images", 1200, 1200)
    shown = re.sub(r"\x1b\[[\d;]*m", "", output.getvalue())
    assert "[0:20] sop: decoding images: 1,200 of 1,200\n" in shown


def test_brackets_in_an_error_are_text(clock: Clock) -> None:
    trial = record("mdr-001", [], "failed")
    trial.error = "ValueError: no such [bold]file[/bold] in [a]"
    status, output = plain(80)
    status.trial_started(trial)
    status.trial_ended(trial)
    assert "ValueError: no such [bold]file[/bold] in [a]" in output.getvalue()


def test_a_pipe_gets_no_live_line(clock: Clock) -> None:
    status, output = plain(80)
    with status:
        status.trial_started(record("mdr-001", [50.0]))
        status.test_scored(record("mdr-001", [50.0]), {"test/recall_at_1": 1.0})
    assert output.getvalue() == ""


def test_the_live_line_counts_runs_and_foretells(clock: Clock) -> None:
    trials = [
        record("mdr-001", [50.0, 62.5, 60.0], "completed"),
        record("mdr-002", [9.5], "stopped_early"),
        record("mdr-003", [8.0], "stopped_early"),
        record("mdr-004", [], "failed"),
        record("mdr-005", [55.0, 61.0]),
        record("mdr-006", []),
    ]
    # 4 of 12 ended within the 80 s since the first one started: 8 more take 160 s
    assert last_live_line(clock, trials, num_trials=12, elapsed_s=90) == (
        "[1:30] 4/12 trials done · 2 stopped early · 1 FAILED · running mdr-005 epoch 3/8 · "
        "running mdr-006 epoch 1/8 · best 62.50 (mdr-001) · about 2:40 left"
    )


def test_the_live_line_before_anything_ended_and_after_all_did(clock: Clock) -> None:
    assert last_live_line(clock, [], 4, 15) == "[0:15] 0/4 trials done"
    running = [record(f"mdr-{i:03d}", []) for i in range(1, 5)]
    assert last_live_line(clock, running, 4, 15) == (
        "[0:15] 0/4 trials done · running mdr-001 epoch 1/8 · running mdr-002 epoch 1/8 · running mdr-003 epoch 1/8"
    )
    done = [record("mdr-001", [50.0], "completed")]
    assert last_live_line(clock, done, 1, 20, stage="evaluating mdr-001 on the test classes") == (
        "[0:20] 1/1 trials done · best 50.00 (mdr-001) · evaluating mdr-001 on the test classes"
    )


def test_the_live_line_is_gone_once_finished_also_when_called_twice(clock: Clock) -> None:
    output = io.StringIO()
    status = Status(Console(file=output, force_terminal=True, width=80, highlight=False), METRIC, 4)
    with status:
        status.finish()
        drawn = output.getvalue()
        status.trial_started(record("mdr-001", [50.0]))
    assert drawn.endswith("\r\x1b[1A\x1b[2K")  # the cursor goes back up and the line is erased
    assert output.getvalue() == drawn
