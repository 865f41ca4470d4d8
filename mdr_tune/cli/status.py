"""What the terminal shows while a sweep runs: a line a finished trial, and a live status on a tty."""

import threading
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mdr_tune.config.arms import Arm
from mdr_tune.records import TrialRecord
from mdr_tune.report.summary import format_parameters, metric_label
from mdr_tune.words import count

PROGRESS_EVERY_S = 15.0
OUTCOMES = {"completed": "completed", "stopped_early": "stopped early", "failed": "FAILED", "killed": "killed"}


class Status:
    """A sweep's listener that prints. On a terminal one status line stays at the bottom; elsewhere plain lines only.

    Args:
        console: Where to print.
        metric: The sweep's metric.
        num_trials: Trials of all arms together, for the progress and the time left.
    """

    def __init__(self, console: Console, metric: str, num_trials: int) -> None:
        self._console, self._metric, self._num_trials = console, metric, num_trials
        self._records: list[TrialRecord] = []
        self._started = time.monotonic()
        self._first_trial: float | None = None
        self._stage = ""
        self._next_progress = 0.0
        self._lock = threading.Lock()
        self._live = Live(console=console, get_renderable=self._line, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Status":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.finish()

    def finish(self) -> None:
        """Take the live line away; what is printed after it stands at the bottom."""
        if self._live.is_started:
            self._live.stop()

    def _print(self, text: str, style: str = "") -> None:
        with self._lock:
            line = Text(f"[{_clock(time.monotonic() - self._started)}] ", style="dim").append(
                text, style=style or "default"
            )
            self._console.print(line, soft_wrap=True)

    def stage(self, text: str) -> None:
        """Print what begins."""
        self._stage = text
        self._print(text, "dim")

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far a preparation is: in the live line, and elsewhere as a line now and then."""
        text = f"{what}: {done:,} of {total:,}"
        if done < total and self._console.is_terminal:
            self._stage = text
        elif done in (0, total) or time.monotonic() > self._next_progress:
            self._next_progress = time.monotonic() + PROGRESS_EVERY_S
            self.stage(text)

    def arm_started(self, arm: Arm) -> None:
        """Print which search begins."""
        self._stage = ""
        self._print(f"searching {arm.name}: {count(arm.trials, 'trial')}", "bold")

    def trial_started(self, record: TrialRecord) -> None:
        """Count the trial."""
        self._first_trial = self._first_trial or time.monotonic()
        self._records.append(record)

    def epoch_finished(self, record: TrialRecord) -> None:
        """Nothing to do: the live line reads the record."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Print the trial's line."""
        best = record.best(self._metric)
        label = metric_label(self._metric)
        quality = f"val {label} {best[0]:6.2f} (epoch {best[1]})" if best else "no result"
        text = f"{record.name:<16} {OUTCOMES[record.outcome]:<13} {record.epochs:>3} epochs  {quality}"
        parameters = format_parameters(record.parameters)
        self._print(f"{text}  {parameters}".rstrip(), "red" if record.outcome == "failed" else "")
        if record.error:
            self._print(f"{'':<16} {_last_line(record.error)}", "red")

    def test_scored(self, record: TrialRecord, metrics: dict[str, float]) -> None:
        """Nothing to do: the final table shows it."""

    def _line(self) -> Text:
        counts = {outcome: sum(r.outcome == outcome for r in self._records) for outcome in OUTCOMES}
        running = [r for r in self._records if r.outcome == "running"]
        ended = len(self._records) - len(running)
        parts = [f"{ended}/{self._num_trials} trials done"]
        parts += [f"{counts[o]} {OUTCOMES[o]}" for o in ("stopped_early", "failed") if counts[o]]
        parts += [f"running {r.name} epoch {r.epochs + 1}/{r.config['epochs']}" for r in running[:3]]
        scored = [(best[0], r.name) for r in self._records if (best := r.best(self._metric))]
        if scored:
            value, name = max(scored)
            parts.append(f"best {value:.2f} ({name})")
        if ended and self._first_trial is not None and ended < self._num_trials:
            left = (time.monotonic() - self._first_trial) / ended * (self._num_trials - ended)
            parts.append(f"about {_clock(left)} left")
        if self._stage:
            parts.append(self._stage)
        return Text(f"[{_clock(time.monotonic() - self._started)}] " + " · ".join(parts), style="cyan")


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _last_line(traceback: str) -> str:
    lines = [line.strip() for line in traceback.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""
