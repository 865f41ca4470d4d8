"""Schema of the journal: the known events and their fields, by which each line is checked when it is read."""

import json
import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from mdr_tune.records.distance_snapshot import DistanceSnapshot
from mdr_tune.records.trial_record import Outcome


class _Event(BaseModel):
    """Fields that all events have. An event without further fields has no class of its own."""

    model_config = ConfigDict(extra="allow")
    event: str
    time: FiniteFloat


def _with_seed(config: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(config.get("seed"), int):
        raise ValueError("has no seed")
    return config


def _with_epoch(metrics: dict[str, float]) -> dict[str, float]:
    if not 0 < metrics.get("epoch", math.nan) < math.inf:
        raise ValueError("has no epoch")
    return metrics


class _Tracked(_Event):
    parent_run_id: str
    image_content: str | None = None
    code: dict[str, Any] | None = None
    packages: dict[str, str] = {}


class _Started(_Event):
    name: str
    arm: str
    number: int = Field(ge=0)
    seed_index: int = Field(ge=0)
    parameters: dict[str, Any]
    config: Annotated[dict[str, Any], AfterValidator(_with_seed)]


class _OfTrial(_Event):
    name: str


class _Epoch(_OfTrial):
    metrics: Annotated[dict[str, float], AfterValidator(_with_epoch)]
    device: str | None = None
    distances: DistanceSnapshot = DistanceSnapshot(0, [], [])


class _Checkpoint(_OfTrial):
    epoch: int
    folder: str


class _Dropped(_OfTrial):
    epochs: list[int]


class _Changed(_OfTrial):
    epoch: int
    source: str
    parameters: dict[str, Any]


class _Note(_OfTrial):
    text: str


class _Ended(_OfTrial):
    outcome: Outcome
    error: str | None


class _Searched(_Event):
    arm: str


class _Tested(_OfTrial):
    epoch: int
    metrics: dict[str, float]


class _Extended(_Event):
    trials: int = Field(ge=1)


EVENTS: dict[str, type[_Event]] = {
    "session": _Event,
    "tracked": _Tracked,
    "started": _Started,
    "epoch": _Epoch,
    "checkpoint": _Checkpoint,
    "dropped": _Dropped,
    "changed": _Changed,
    "note": _Note,
    "ended": _Ended,
    "searched": _Searched,
    "tested": _Tested,
    "extended": _Extended,
    "finished": _Event,
}


def parse_event(line: bytes) -> dict[str, Any]:
    """Return the event in a journal's `line`. Raise ValueError, with the reason, if this version cannot read it."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({error})") from None
    name = event.get("event") if isinstance(event, dict) else None
    if not isinstance(name, str) or name not in EVENTS:
        raise ValueError(f"{name!r} is no event that this version knows")
    try:
        return EVENTS[name].model_validate(event).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
