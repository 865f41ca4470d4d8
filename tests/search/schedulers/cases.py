"""What the tests with and without Ray share: schedulers of a small arm, and trials with known gains."""

import random
from typing import Any

from pydantic import TypeAdapter

from mdr_tune.config.arms import Arm
from mdr_tune.config.schedulers import SchedulerConfig
from mdr_tune.config.space import Space
from mdr_tune.config.trial import TrialConfig
from mdr_tune.search.schedulers import OnChange, make_scheduler
from mdr_tune.search.schedulers.lane_scheduler import LaneScheduler
from tests.search.schedulers.naive import Curves

METRIC = "val/recall_at_1"
SEED = 5


def nothing_changes(name: str, epoch: int, source: str, parameters: dict[str, Any]) -> None:
    raise AssertionError(f"{name} took over {source}")


def names_of(trials: int) -> list[str]:
    return [f"mdr-{number + 1:03d}" for number in range(trials)]


def arm_of(trials: int, space: dict[str, Any] | None = None, trial: dict[str, Any] | None = None) -> Arm:
    return Arm(
        "mdr", TrialConfig.model_validate(trial or {}), TypeAdapter(Space).validate_python(space or {}), (), trials
    )


def scheduler_of(
    config: Any,
    trials: int,
    lanes: int,
    max_epochs: int,
    on_change: OnChange = nothing_changes,
    arm: Arm | None = None,
    earlier: tuple[int, ...] = (),
) -> LaneScheduler:
    found = make_scheduler(
        TypeAdapter(SchedulerConfig).validate_python(config),
        arm=arm or arm_of(trials),
        seed=SEED,
        max_epochs=max_epochs,
        num_lanes=lanes,
        on_change=on_change,
        earlier=earlier,
    )
    assert found.set_search_properties(METRIC, "max")
    return found


def random_gains(trials: int, max_epochs: int, generator: random.Random, ties: bool = False) -> Curves:
    """Return what each epoch adds; with `ties`, many trials are equally good."""
    draw = (lambda: float(generator.randint(0, 1))) if ties else (lambda: generator.uniform(0, 9))
    return {name: [draw() for _ in range(max_epochs)] for name in names_of(trials)}


def config_of(gains: list[float], weight: float = 1.0, **others: Any) -> dict[str, Any]:
    trial = TrialConfig.model_validate({"mdr": {"weight": weight}, "epochs": len(gains)}).model_dump()
    return {"trial": trial, "parameters": {"mdr.weight": weight}, "gains": gains, **others}
