"""`launch.py` as a user runs it, in a process of its own, and where its seconds go; in turn with the other pattern."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from summary.process import REPOSITORY, run_module

from overhead.trials import ITERATIONS_PER_EPOCH, WORKERS_PER_TRIAL

SETTINGS = {
    "baselines": "[]",
    "trial.epochs": "1",
    "trial.iterations_per_epoch": str(ITERATIONS_PER_EPOCH),
    "trial.backbone": "conv4",  # trained as a whole, as on the other side
    "trial.augmentation": "auto",
    "trial.embedding": "{size: 128, mode: rescale}",
    "trial.optimizer": "{learning_rate: 3e-3}",
    "search.scheduler": "none",
    "search.seeds_per_trial": "1",
    "search.finalists": "null",
    "resources.workers_per_trial": str(WORKERS_PER_TRIAL),
    "resources.lanes": "1",
    "resources.gpus_per_worker": "0",
}
TIMEOUT_S = 600
PAUSE_S = 5
"""Before a launch: some of Ray's processes outlive the one that started it."""

Span = tuple[str, float, float]

TO_FIRST_EPOCH = (
    ("interpreter and launch.py's imports", "import of launch.py", "end"),
    ("sweep file, stores and machine checked", "plan", "end"),
    ("import of ray", "import ray", "end"),
    ("Ray started", "ray.init", "end"),
    ("left of the check of the data set, beside Ray", "data", "end"),
    ("hub made", "hub", "end"),
    ("trainer made, lane's thread started", "lanes", "end"),
    ("journal begun; MLflow imported, store and parent run made", "tracker", "end"),
    ("Tune and Optuna imported", "import of the search", "end"),
    ("Optuna study and Tuner made", "tuner", "end"),
    ("Tune runs, and the trial's actor", "trial started", "begin"),
    ("waiting for the lane's workers", "join", "end"),
    ("start command: data loaded, model built", "command start", "end"),
    ("first epoch", "command epoch", "end"),
    ("Tune has its result", "epoch finished", "begin"),
)
"""What happens on the driver, in order: label, span, and which end of it closes the row."""

AFTER = (
    ("checkpoint saved, trial ended", "trial ended", "end"),
    ("Tune ended", "fit", "end"),
    ("test evaluation", "test evaluation", "end"),
    ("champion registered", "champion", "end"),
    ("figures drawn", "figures", "end"),
    ("parent run closed, result printed", "lanes stopped", "begin"),
    ("lanes stopped", "lanes stopped", "end"),
    ("Ray ended", "command returned", "end"),
)


@dataclass(frozen=True)
class Row:
    """One stretch of a launch: what ended, after how many seconds from launch, and how long it took."""

    label: str
    at_s: float
    takes_s: float


@dataclass(frozen=True)
class Launch:
    """A launch, accounted for.

    Attributes:
        to_first_epoch: Rows that follow each other without a gap, up to the first epoch's result.
        after: And from there to the end of the process.
        beside: What went on meanwhile, in other processes, whatever rows it overlaps.
    """

    to_first_epoch: list[Row]
    after: list[Row]
    beside: list[Row]

    @property
    def first_epoch_starts_s(self) -> float:
        """Seconds from launch until the first epoch begins."""
        return next(row.at_s - row.takes_s for row in self.to_first_epoch if row.label == "first epoch")


def launch_in_turn(rounds: int, folder: Path) -> tuple[list[Launch], list[float]]:
    """Run launch.py and a script of the documented pattern in turn, once more than counts.

    Returns:
        The launches of the rounds after the first, and the seconds from the other's launch to its first step.
    """
    launches, others_s = [], []
    for number in range(rounds + 1):
        inside = folder / f"round-{number}"
        inside.mkdir()
        for ours in (True, False) if number % 2 else (False, True):
            time.sleep(PAUSE_S)
            if ours:
                launches.append(run_launch(inside))
            else:
                others_s.append(run_documented_launch(inside))
    return launches[1:], others_s[1:]


def median_launch(launches: Sequence[Launch]) -> Launch:
    """Return the launch whose first epoch began as late as the others' in the median (of two: the later)."""
    return sorted(launches, key=lambda launch: launch.first_epoch_starts_s)[len(launches) // 2]


def run_launch(folder: Path) -> Launch:
    """Run launch.py with one trial of one epoch, its stores in `folder`.

    Raises:
        RuntimeError: It failed; the text is what it printed.
    """
    stamps = folder / "stamps.json"
    argv = ["--space", str(REPOSITORY / "search_spaces" / "mdr_levels.yaml"), "--trials", "1"]
    argv += ["--storage", str(folder / "runs")]
    for key, value in SETTINGS.items():
        argv += ["--set", f"{key}={value}"]
    launched = time.time()
    run_module("overhead.probe", [str(stamps), *argv], timeout_s=TIMEOUT_S)
    left = time.time()
    return account([tuple(span) for span in json.loads(stamps.read_text())], launched, left)


def run_documented_launch(folder: Path) -> float:
    """Run a script with one trial of the documented pattern; returns the seconds from its launch to its first step.

    Raises:
        RuntimeError: It failed; the text is what it printed.
    """
    stamp = folder / "documented.json"
    launched = time.time()
    run_module("overhead.documented", [str(stamp), str(folder)], timeout_s=TIMEOUT_S)
    first_step: float = json.loads(stamp.read_text())
    return first_step - launched


def account(spans: list[Span], launched: float, left: float) -> Launch:
    """Turn spans into rows that add up: each row ends where its span says, or at once if that is past already."""
    to_first_epoch = _rows(spans, TO_FIRST_EPOCH, launched, launched)
    after = _rows(spans, AFTER, launched, launched + to_first_epoch[-1].at_s)
    total = left - launched
    after.append(Row("process gone", total, total - after[-1].at_s))
    lane, first, last = _moment(spans, "lanes", "end"), _begin(spans, "join"), _moment(spans, "join", "end")
    lease, noticed = (_begin(spans, name) for name in ("lease", "trial started"))
    beside = [
        Row("lane: from its thread's start to the first worker", first - launched, first - lane),
        Row("lane: and to the last worker", last - launched, last - first),
        Row("trial's actor: from Tune's notice to its asking for a lane", lease - launched, lease - noticed),
    ]
    return Launch(to_first_epoch, after, beside)


def _rows(spans: list[Span], parts: tuple[tuple[str, str, str], ...], launched: float, begin: float) -> list[Row]:
    rows = []
    for label, name, which in parts:
        end = max(begin, _moment(spans, name, which))
        rows.append(Row(label, end - launched, end - begin))
        begin = end
    return rows


def _moment(spans: list[Span], name: str, which: str) -> float:
    """Return when the first span of a name began or ended; of `join`, which each worker has, the last."""
    found = [span for span in spans if span[0] == name]
    _, begin, end = found[-1] if name == "join" else found[0]
    return end if which == "end" else begin


def _begin(spans: list[Span], name: str) -> float:
    """Return when the first span of a name began."""
    return next(begin for found, begin, _ in spans if found == name)
