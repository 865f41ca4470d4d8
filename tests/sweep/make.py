"""Small records and arms for the tests of this folder."""

from typing import Any

from mdr_tune.config.arms import Arm, main_arm
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.records.trial_record import TrialRecord

METRIC = "val/recall_at_1"


def make_sweep(**changes: Any) -> SweepConfig:
    tree = {"name": "letters", "trial": {"epochs": 4}, "space": {"mdr.weight": {"loguniform": [0.01, 1]}}, **changes}
    return SweepConfig.model_validate(tree)


def make_arm(trials: int = 4, **changes: Any) -> Arm:
    return main_arm(make_sweep(**{"search": {"trials": trials}, **changes}))


def make_record(number: int, *recalls: float, seed_index: int = 0, **changes: Any) -> TrialRecord:
    """A record with one epoch for each Recall@1."""
    name = f"mdr-{number + 1:03d}" + (f".{seed_index + 1}" if seed_index else "")
    config = {"epochs": 4, "seed": seed_index}
    record = TrialRecord(name, "mdr", number, {"mdr.weight": 0.1}, config, seed_index, **changes)
    record.history = [{"epoch": float(i + 1), METRIC: recall} for i, recall in enumerate(recalls)]
    return record


class Heard:
    """A listener, and a study, that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def __getattr__(self, event: str) -> Any:
        if event.startswith("__"):
            raise AttributeError(event)

        def hear(*content: Any) -> None:
            shown = [item.name if isinstance(item, TrialRecord) else item for item in content]
            self.events.append((event, *shown))

        return hear
