"""What the terminal shows while a sweep runs: plain lines in a pipe, and a live line on a terminal."""

import io
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from mdr_tune.cli.pace import Pace
from mdr_tune.cli.status import Status
from mdr_tune.cluster.machine import Machine
from mdr_tune.config.arms import Arm
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.lanes.messages import FIRST_EPOCH
from mdr_tune.records.trial_record import Change, Outcome, TrialRecord
from mdr_tune.sweep.lane_layout import fit_lanes

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
    return TrialRecord(name, "mdr", 0, parameters, {"epochs": 8}, history=history, outcome=outcome)


def make_pace(num_trials: int, gpus: int = 0, past: Sequence[TrialRecord] = ()) -> Pace:
    """Of a sweep on two lanes of one worker."""
    sweep = SweepConfig.model_validate({"name": "x", "resources": {"lanes": 2}})
    return Pace(num_trials, fit_lanes(sweep, Machine(4, 4 * gpus, "this machine")), past=past)


def plain(width: int, num_trials: int = 4, past: Sequence[TrialRecord] = ()) -> tuple[Status, io.StringIO]:
    output = io.StringIO()
    return Status(Console(file=output, width=width, highlight=False), METRIC, make_pace(num_trials, past=past)), output


def terminal(width: int, pace: Pace) -> tuple[Status, io.StringIO]:
    output = io.StringIO()
    return Status(Console(file=output, force_terminal=True, width=width, highlight=False), METRIC, pace), output


def play(status: Status, one: TrialRecord) -> None:
    """Let a trial run as far as it came, two seconds an epoch."""
    history, one.history = one.history, []
    outcome, one.outcome = one.outcome, "running"
    status.trial_started(one)
    for epoch in history:
        one.history.append({**epoch, "time/epoch_s": 2.0})
        status.epoch_finished(one)
    one.outcome = outcome


def last_live_lines(
    clock: Clock, records: list[TrialRecord], pace: Pace, elapsed_s: float, stage: str = "", width: int = 300
) -> list[str]:
    """Return what stands at the bottom of a terminal after `records` have started at second 10."""
    status, output = terminal(width, pace)
    with status:
        clock.now += 10
        for one in records:
            play(status, one)
        if stage:
            status.stage(stage)
        clock.now += elapsed_s - 10
    drawn = output.getvalue()
    last = drawn[drawn.rindex("\x1b[36m[") :]
    return re.findall(r"\x1b\[36m(.*?)\x1b\[0m", last)


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
            play(status, trial)
        clock.now += 75
        for trial in trials:
            status.trial_ended(trial)
    assert output.getvalue().splitlines()[1:] == [
        "[1:15] mdr-001          completed       3 epochs  val Recall@1  62.50 (epoch 2)  "
        "levels 3 over ±2.40, weight 0.13, margin 0.2",
        "[1:15] 2/4 trials done · 1 stopped early · best 62.50 (mdr-001) · about 0:03 left",  # 3 epochs on 2 lanes
        "[1:15] mdr-002          stopped early   1 epoch   val Recall@1   9.50 (epoch 1)  weight 0.5",
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
    status, output = terminal(100, make_pace(4))
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
        play(status, record("mdr-001", [50.0]))
        status.test_scored(record("mdr-001", [50.0]), {"test/recall_at_1": 1.0}, None)
    assert output.getvalue() == "[0:00] about 31s to go: 31 epochs at 2 s, the time of the first epoch\n"


def test_the_first_steps_tell_how_long_it_will_take_and_the_first_epoch_where_it_is_short(clock: Clock) -> None:
    output = io.StringIO()
    status = Status(Console(file=output, width=80, highlight=False), METRIC, make_pace(4), may_end_early=True)
    status.trial_started(record("mdr-001", []))
    for done in (1, 5, 20, 40):  # the first step is not timed; a step takes 0.5 s
        status.progress(FIRST_EPOCH, done, 100)
        clock.now += {1: 2.0, 5: 7.5, 20: 10.0, 40: 0.0}[done]
    play(status, record("mdr-001", [50.0]))  # says nothing more
    assert output.getvalue().splitlines() == [
        "[0:19] about 13m 20s to go: 32 epochs at 50 s, from 39 of 100 steps, without evaluation; less if trials or "
        "searches are stopped early"
    ]


TRIALS = [
    ("mdr-001", [50.0, 62.5, 60.0, 61.0], "completed"),
    ("mdr-002", [9.5, 9.0], "stopped_early"),
    ("mdr-003", [8.0, 8.0], "stopped_early"),
    ("mdr-004", [], "failed"),
    ("mdr-005", [99.0], "diverged"),
    ("mdr-006", [55.0, 61.0], "running"),
    ("mdr-007", [], "running"),
    ("mdr-008", [], "running"),
    ("mdr-009", [], "running"),
]


def test_the_live_line_counts_runs_and_foretells(clock: Clock) -> None:
    trials = [record(*trial) for trial in TRIALS]  # type: ignore[arg-type]
    # those to come are as long as the three that ended in the mean, 8/3 epochs, or as the one that came further than 2:
    # 2 and three times 8/3 of those that run, and 3 times 8/3; 18 epochs of 2 s on two lanes
    assert last_live_lines(clock, trials, make_pace(12), elapsed_s=90) == [
        "[1:30] 5/12 trials done · 2 stopped early · 1 DIVERGED · 1 FAILED · running mdr-006 epoch 3/8 · "
        "running mdr-007 epoch 1/8 · running mdr-008 epoch 1/8 · 1 more · best 62.50 (mdr-001) · about 0:18 left"
    ]


def test_the_live_line_is_folded_between_its_parts(clock: Clock) -> None:
    trials = [record(*trial) for trial in TRIALS]  # type: ignore[arg-type]
    lines = last_live_lines(clock, trials, make_pace(12), elapsed_s=90, width=80)
    assert [line.rstrip() for line in lines] == [
        "[1:30] 5/12 trials done · 2 stopped early · 1 DIVERGED · 1 FAILED",
        "  running mdr-006 epoch 3/8 · running mdr-007 epoch 1/8",
        "  running mdr-008 epoch 1/8 · 1 more · best 62.50 (mdr-001) · about 0:18 left",
    ]


def test_gpu_hours_are_in_the_live_line(clock: Clock) -> None:
    trials = [record("mdr-001", [1.0] * 8, "completed")]
    (line,) = last_live_lines(clock, trials, make_pace(100, gpus=1), elapsed_s=20)
    assert line.endswith(" · about 13:12 left · 0.004 of about 0.4 GPU hours")


def test_the_live_line_before_anything_ended_and_after_all_did(clock: Clock) -> None:
    assert last_live_lines(clock, [], make_pace(4), 15) == ["[0:15] 0/4 trials done"]
    running = [record(f"mdr-{i:03d}", []) for i in range(1, 5)]
    assert last_live_lines(clock, running, make_pace(4), 15) == [
        "[0:15] 0/4 trials done · running mdr-001 epoch 1/8 · running mdr-002 epoch 1/8 · running mdr-003 epoch 1/8 · "
        "1 more"
    ]
    done = [record("mdr-001", [50.0], "completed")]
    assert last_live_lines(clock, done, make_pace(1), 20, stage="evaluating mdr-001 on the test classes") == [
        "[0:20] 1/1 trials done · best 50.00 (mdr-001) · evaluating mdr-001 on the test classes"
    ]


def test_in_a_pipe_a_line_about_the_sweep_comes_with_each_tenth_but_not_too_often_and_each_minute(clock: Clock) -> None:
    status, output = plain(80, num_trials=50)
    with status:
        for number in range(1, 26):  # 8 epochs of 50 x 8 each, 4 s apart: a tenth takes 160 s
            one = record(f"mdr-{number:03d}", [])
            status.trial_started(one)
            for epoch in range(1, 9):
                clock.now += 4
                one.history.append({"epoch": float(epoch), METRIC: 50.0 + number, "time/epoch_s": 4.0})
                status.epoch_finished(one)
            one.outcome = "completed"
    first, *lines = output.getvalue().splitlines()
    assert first == "[0:04] about 13m 20s to go: 399 epochs at 4 s, the time of the first epoch"
    minutes = [line.split("]")[0] for line in lines]
    assert minutes == [f"[{m}" for m in ("1:00", "2:00", "2:40", "3:40", "4:40", "5:20", "6:20", "7:20")] + [
        f"[{m}" for m in ("8:00", "9:00", "10:00", "10:40", "11:40", "12:40", "13:20")
    ]
    assert lines[2] == "[2:40] 4/50 trials done · best 55.00 (mdr-005) · about 12:00 left"


def test_a_trial_that_goes_on_says_so(clock: Clock) -> None:
    past = [record("mdr-001", [50.0] * 8, "completed"), record("mdr-003", [50.0] * 5, "killed")]
    status, output = plain(80, past=past)
    past[1].outcome = "running"
    status.trial_started(past[1])
    status.trial_started(record("mdr-004", []))
    assert output.getvalue() == "[0:00] mdr-003          goes on after epoch 5\n"


def test_notes_and_what_population_based_training_changed_are_told_once(clock: Clock) -> None:
    trial = record("mdr-004", [1.0] * 4)
    trial.notes.append("known from an earlier session")
    status, output = plain(80)
    status.trial_started(trial)
    trial.notes.append("the lane lost a worker in epoch 4: repeated from the checkpoint of epoch 3")
    status.trial_noted(trial)
    trial.changes.append(Change(4, "mdr-002", {"mdr.weight": 0.12, "optimizer.learning_rate": 0.0024}))
    status.trial_noted(trial)
    assert output.getvalue().splitlines()[1:] == [
        "[0:00] mdr-004          the lane lost a worker in epoch 4: repeated from the checkpoint of epoch 3",
        "[0:00] mdr-004          took over mdr-002 after epoch 4: weight 0.12, learning rate 0.0024",
    ]


def test_a_trial_that_diverged_has_no_value_and_says_why(clock: Clock) -> None:
    trial = record("mdr-007.2", [99.0], "diverged")
    trial.error = "all embeddings collapsed to one point"
    status, output = plain(80)
    status.trial_started(record("mdr-007.2", []))
    status.trial_ended(trial)
    assert output.getvalue().splitlines() == [
        "[0:00] mdr-007.2        DIVERGED        1 epoch   no result",
        "[0:00]                  all embeddings collapsed to one point",
    ]


def test_the_live_line_is_gone_once_finished_also_when_called_twice(clock: Clock) -> None:
    status, output = terminal(80, make_pace(4))
    with status:
        status.finish()
        drawn = output.getvalue()
        status.trial_started(record("mdr-001", []))
    assert drawn.endswith("\r\x1b[1A\x1b[2K")  # the cursor goes back up and the line is erased
    assert output.getvalue() == drawn
