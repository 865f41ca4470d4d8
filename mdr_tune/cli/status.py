"""Print the progress of a sweep: a line for each trial that ends, and on a terminal a live line about the sweep."""

import threading
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mdr_tune.cli.pace import Pace
from mdr_tune.config.arms import Arm
from mdr_tune.lanes.messages import FIRST_EPOCH
from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.trial_record import Change, TrialRecord
from mdr_tune.report.names import format_parameters, value_titles
from mdr_tune.util.words import count, duration, last_line

PROGRESS_EVERY_S = 15.0
SUMMARY_EVERY_S = 60.0
"""Time in seconds between two summaries of the sweep, if the output is not a terminal.

The next summary comes sooner if another tenth of the sweep is done and PROGRESS_EVERY_S is over.
"""
STEPS_TIMED_S = 10.0
"""Time in seconds over which steps of the first epoch are timed. The first step, which is slow, is not among them."""
LOOK_EVERY_S = 1.0
"""Least time in seconds between two estimates of how much is done. The more trials, the longer an estimate takes."""
RUNNING_SHOWN = 3
OUTCOMES = {
    "completed": "completed",
    "stopped_early": "stopped early",
    "diverged": "DIVERGED",
    "failed": "FAILED",
    "killed": "killed",
}
_BAD = ("diverged", "failed")


class Status:
    """Listener of a sweep that prints its events on `console`. On a terminal, a live line stays at the bottom.

    `metric` is the sweep's metric. `pace` estimates the progress, and already knows the trials of earlier sessions.
    `may_end_early` says whether a scheduler or a stop rule may make the sweep shorter than its trials' epochs.
    """

    def __init__(self, console: Console, metric: str, pace: Pace, may_end_early: bool = False) -> None:
        self._console, self._metric, self._pace, self._may_end_early = console, metric, pace, may_end_early
        self._first_step: tuple[float, int] | None = None
        self._estimate_is_told = False
        self._started = time.monotonic()
        self._stage = ""
        self._next_progress = 0.0
        self._told: dict[str, tuple[int, int]] = {}
        """Numbers of notes and of changes that were printed already or belong to earlier sessions, by trial name."""
        self._summary_at: float | None = None
        self._summary_tenth = 0
        self._look_at = 0.0
        self._lock = threading.Lock()
        self._live = Live(console=console, get_renderable=self._line, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Status":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.finish()

    def finish(self) -> None:
        """Remove the live line, so that later output is printed below the lines so far."""
        if self._live.is_started:
            self._live.stop()

    def _print(self, text: str, style: str = "") -> None:
        with self._lock:
            line = Text(f"[{_clock(time.monotonic() - self._started)}] ", style="dim").append(
                text, style=style or "default"
            )
            self._console.print(line, soft_wrap=True)

    def stage(self, text: str) -> None:
        """Print `text`, which names the present step of the launch, and show it in the live line."""
        self._stage = text
        self._print(text, "dim")

    def progress(self, what: str, done: int, total: int) -> None:
        """Show in the live line, or print now and then, that `done` of `total` items of the task `what` are done."""
        if what == FIRST_EPOCH:
            self._time_steps(done, total)
            return
        text = f"{what}: {done:,} of {total:,}"
        if done < total and self._console.is_terminal:
            self._stage = text
        elif done in (0, total) or time.monotonic() > self._next_progress:
            self._next_progress = time.monotonic() + PROGRESS_EVERY_S
            self.stage(text)

    def arm_started(self, arm: Arm) -> None:
        """Print the name of `arm`, whose search begins, and its number of trials."""
        self._stage = ""
        self._print(f"searching {arm.name}: {count(arm.trials, 'trial')}", "bold")

    def trial_started(self, record: TrialRecord) -> None:
        """Count the trial of `record`, and print a line if it goes on after an interruption."""
        if self._summary_at is None:
            self._summary_at, self._summary_tenth = time.monotonic(), int(10 * self._pace.share_done)
        self._pace.started(record)
        self._told[record.name] = (len(record.notes), len(record.changes))
        if record.history:
            self._print(f"{record.name:<16} goes on after epoch {record.epochs}")

    def epoch_finished(self, record: TrialRecord) -> None:
        """Count the epoch that the trial of `record` has finished, and print a summary if it is time for one.

        Work before the first epoch, such as computing features, is then removed from the live line.
        """
        self._stage = ""
        self._pace.epoch_finished(record)
        self._tell_estimate("the time of the first epoch")
        self._summarise()

    def trial_noted(self, record: TrialRecord) -> None:
        """Print the new notes in `record`, and the new changes by population based training."""
        notes, changes = self._told.get(record.name, (0, 0))
        self._told[record.name] = (len(record.notes), len(record.changes))
        for note in record.notes[notes:]:
            self._print(f"{record.name:<16} {note}", "yellow")
        for change in record.changes[changes:]:
            self._print(f"{record.name:<16} {_describe(change)}")

    def trial_ended(self, record: TrialRecord) -> None:
        """Print a line about the trial of `record`: outcome, epochs, best value and parameters."""
        best = record.best(self._metric)
        label, _ = value_titles(self._metric)
        quality = f"{label} {best[0]:6.2f} (epoch {best[1]})" if best else "no result"
        epochs = "epoch" if record.epochs == 1 else "epochs"
        text = f"{record.name:<16} {OUTCOMES[record.outcome]:<13} {record.epochs:>3} {epochs:<6}  {quality}"
        parameters = format_parameters(record.best_parameters(self._metric))
        bad = record.outcome in _BAD
        self._print(f"{text}  {parameters}".rstrip(), "red" if bad else "")
        if record.error:
            self._print(f"{'':<16} {last_line(record.error)}", "red")
        if record.ended:
            self._summarise()

    def test_scored(self, record: TrialRecord, metrics: dict[str, float], details: TestDetails | None) -> None:
        """Do nothing: the final table shows the test metrics."""

    def _time_steps(self, done: int, total: int) -> None:
        """Take the time of an epoch from its steps, `done` of `total`, and tell the first estimate."""
        now = time.monotonic()
        if self._first_step is None:
            self._first_step = now, done
        since, before = self._first_step
        if now - since >= STEPS_TIMED_S and done > before and self._pace.epoch_s is None:
            self._pace.steps_timed((now - since) / (done - before) * total)
            self._tell_estimate(f"from {done - before} of {total:,} steps, without evaluation")

    def _tell_estimate(self, how: str) -> None:
        """Print once, as soon as it is known, how long the sweep will take. `how` says what the time of an epoch is."""
        left, epoch_s = self._pace.seconds_left, self._pace.epoch_s
        if self._estimate_is_told or left is None or epoch_s is None:
            return
        self._estimate_is_told = True
        epochs = f"{self._pace.epochs_left:,.0f} epochs at {epoch_s:.2g} s, {how}"
        less = "; less if trials or searches are stopped early" if self._may_end_early else ""
        self._print(f"about {duration(float(f'{left:.2g}'))} to go: {epochs}{less}")

    def _summarise(self) -> None:
        """Print a summary of the sweep if the output is not a terminal and it is time, see `SUMMARY_EVERY_S`."""
        now = time.monotonic()
        if self._console.is_terminal or self._summary_at is None or now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        tenth = int(10 * self._pace.share_done)
        if self._pace.seconds_left is None:
            return
        wait = PROGRESS_EVERY_S if tenth > self._summary_tenth else SUMMARY_EVERY_S
        if now - self._summary_at >= wait:
            self._summary_at, self._summary_tenth = now, tenth
            self._print(" · ".join([*self._counts(), *self._outlook()]))

    def _line(self) -> Text:
        running = [record for record in self._pace.records if record.outcome == "running"]
        parts = self._counts()
        parts += [f"running {r.name} epoch {r.epochs + 1}/{r.config['epochs']}" for r in running[:RUNNING_SHOWN]]
        parts += [f"{len(running) - RUNNING_SHOWN} more"] if len(running) > RUNNING_SHOWN else []
        parts += self._outlook()
        if self._stage:
            parts.append(self._stage)
        parts[0] = f"[{_clock(time.monotonic() - self._started)}] {parts[0]}"
        return Text(_fold(parts, self._console.width), style="cyan")

    def _counts(self) -> list[str]:
        records, seeds = self._pace.records, self._pace.further_seeds_done
        parts = [f"{self._pace.trials_done}/{self._pace.num_trials} trials done"]
        of = f" of {max(seeds, self._pace.further_seeds)}" if self._pace.further_seeds else ""
        parts += [f"{seeds}{of} further {'seed' if seeds == 1 and not of else 'seeds'}"] if seeds else []
        numbers = {outcome: sum(r.outcome == outcome for r in records) for outcome in OUTCOMES}
        return parts + [f"{numbers[o]} {OUTCOMES[o]}" for o in ("stopped_early", *_BAD) if numbers[o]]

    def _outlook(self) -> list[str]:
        """Return texts with the best value so far, the time left and the GPU hours, as far as they are known."""
        scored = [(best[0], r.name) for r in self._pace.records if (best := r.best(self._metric))]
        parts = []
        if scored:
            value, name = max(scored)
            parts.append(f"best {value:.2f} ({name})")
        left, hours = self._pace.seconds_left, self._pace.describe_gpu_hours()
        if left is not None:
            parts.append(f"about {_clock(left)} left")
        return parts + ([hours] if hours else [])


def _fold(parts: Sequence[str], width: int) -> str:
    """Join `parts` into lines of at most `width` characters. A part that is longer than a line is not broken."""
    lines = [parts[0]]
    for part in parts[1:]:
        joined = f"{lines[-1]} · {part}"
        lines[-1:] = [joined] if len(joined) <= width else [lines[-1], f"  {part}"]
    return "\n".join(lines)


def _describe(change: Change) -> str:
    values = format_parameters(change.parameters).replace("_", " ")
    return f"took over {change.source} after epoch {change.epoch}: {values}"


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
