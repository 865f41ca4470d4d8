"""A launch of `launch.py` as a user runs it, whose trials train a head on vectors; what its journal says of time."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from summary.process import run_module

from mdr_tune.records.journal import FILE, read_events

EPOCHS, ITERATIONS_PER_EPOCH = 10, 30
CLASSES, VECTORS_PER_CLASS, SIZE = 200, 20, 512
SWEEP: dict[str, Any] = {
    "name": "head_only",
    "metric": "val/recall_at_1",
    "trial": {
        "embedding": {"size": 128, "head": {"hidden": [512]}},
        "mdr": {"weight": 0.2},
        "batch": {"size": 128, "images_per_class": 4},
        "epochs": EPOCHS,
        "iterations_per_epoch": ITERATIONS_PER_EPOCH,
    },
    "search": {"sampler": "tpe", "scheduler": "none"},
    "space": {
        "mdr.weight": {"loguniform": [0.01, 1]},
        "loss.margin": {"uniform": [0.05, 0.5]},
        "optimizer.learning_rate": {"loguniform": [1e-4, 1e-2]},
    },
    "resources": {"workers_per_trial": 1, "lanes": "auto"},
}
TIMEOUT_S = 7200


@dataclass(frozen=True)
class Search:
    """A launch, measured.

    Attributes:
        ended_s: When each trial ended, ascending, in seconds from the first start of a trial.
        whole_s: From the call of launch.py to its end.
    """

    ended_s: list[float]
    whole_s: float

    @property
    def edge(self) -> int:
        """Number of trials in a tenth."""
        return max(1, len(self.ended_s) // 10)

    @property
    def first_s(self) -> float:
        """Seconds a trial in the first tenth, after the trial that ended first: the start of the lanes is in it."""
        return (self.ended_s[self.edge] - self.ended_s[0]) / self.edge

    @property
    def last_s(self) -> float:
        """Seconds a trial in the last tenth."""
        return (self.ended_s[-1] - self.ended_s[-1 - self.edge]) / self.edge

    def expected_s(self, trials: int) -> float:
        """Return the seconds of a launch of so many trials: further ones take what the last tenth does."""
        return self.whole_s + (trials - len(self.ended_s)) * self.last_s


def run(folder: Path, trials: int, *settings: str) -> Search:
    """Run the launch in a process of its own, with its stores in `folder`.

    Args:
        folder: An empty folder.
        trials: Number of trials.
        settings: Further settings, as after `--set`.

    Raises:
        RuntimeError: It failed, or a trial was not completed.
    """
    write_vectors(folder / "vectors.parquet")
    sweep = {
        **SWEEP,
        "trial": {"data": {"name": "features", "file": str(folder / "vectors.parquet")}, **SWEEP["trial"]},
    }
    (folder / "head_only.yaml").write_text(json.dumps(sweep))
    storage = folder / "runs"
    set_each = [word for setting in (f"search.trials={trials}", *settings) for word in ("--set", setting)]
    variables = {"RAY_TMPDIR": str(folder), "TMPDIR": str(folder), "MDR_TUNE_CACHE": str(folder / "cache")}
    start = time.perf_counter()
    command = ["--space", str(folder / "head_only.yaml"), "--storage", str(storage), *set_each]
    run_module("launch", command, variables, TIMEOUT_S)
    whole_s = time.perf_counter() - start
    (journal,) = storage.rglob(FILE)
    events = list(read_events(journal.parent))
    ended = [event for event in events if event["event"] == "ended"]
    if [event["outcome"] for event in ended] != ["completed"] * trials:
        raise RuntimeError(f"{trials} completed trials were expected: {[event['outcome'] for event in ended]}")
    began = next(event["time"] for event in events if event["event"] == "started")
    return Search([event["time"] - began for event in ended], whole_s)


def write_vectors(file: Path) -> None:
    """Write random vectors around the centre of their class."""
    generator = np.random.default_rng(0)
    labels = np.arange(CLASSES).repeat(VECTORS_PER_CLASS)
    centres = generator.standard_normal((CLASSES, SIZE), dtype=np.float32)
    vectors = centres[labels] + 3 * generator.standard_normal((len(labels), SIZE), dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), SIZE)
    pq.write_table(pa.table({"embedding": column, "label": [f"class {label}" for label in labels]}), file)
